package relay

import (
	"syscall"
	"unsafe"
)

// queued returns how much of what was written to a socket its peer has not taken
// yet: acknowledged if it is TCP, read if it is a unix socket (SIOCOUTQ, which is
// another name of TIOCOUTQ). It fails where the kernel cannot say.
func queued(fd uintptr) (bytes int32, ok bool) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&bytes))) //nolint:gosec // the kernel wants an address
	return bytes, errno == 0
}
