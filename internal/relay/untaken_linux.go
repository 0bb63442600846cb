package relay

import (
	"syscall"
	"unsafe"
)

// untaken returns how much of what was written to a socket the peer has not taken yet:
// acknowledged over TCP, read over a unix socket (SIOCOUTQ, which is another name of
// TIOCOUTQ). It fails where the kernel cannot say.
func untaken(fd uintptr) (bytes int32, ok bool) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&bytes))) //nolint:gosec // the kernel wants an address
	return bytes, errno == 0
}

// untakenAndRoom also returns whether the kernel takes more.
func untakenAndRoom(fd uintptr) (bytes int32, takes, ok bool) {
	bytes, ok = untaken(fd)
	poll := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: pollOut}
	var now syscall.Timespec
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0) //nolint:gosec // as above
	return bytes, n > 0, ok && errno == 0
}

const pollOut = 4 // POLLOUT
