//go:build !noloop && !386

package relay

import (
	"syscall"
	"unsafe"
)

// The raw system calls of the loop. None of them blocks, so that the scheduler need not
// hear of them; at several calls a message that is worth having. Their errors are the
// caller's to handle, unless a comment says why not.

// receive reads the bytes that have come. It returns EAGAIN if none have, and 0 at the
// end of the stream.
func receive(fd int32, p []byte) (int, syscall.Errno) {
	return transfer(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// send writes as much as the kernel and the peer's window take, perhaps nothing.
func send(fd int32, p []byte) (int, syscall.Errno) {
	n, errno := transfer(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	if errno == syscall.EAGAIN {
		return 0, 0
	}
	return n, errno
}

func transfer(call uintptr, fd int32, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0) //nolint:gosec // the kernel wants an address
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// readyEvents asks which descriptors are ready now.
func readyEvents(epoll int, events []syscall.EpollEvent) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll),
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0) //nolint:gosec // as above
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// watch sets which events the epoll set tells of a descriptor, of which it told the
// events before until now. It fails if the set may grow no more
// (/proc/sys/fs/epoll/max_user_watches), memory is short, or the descriptor cannot be
// watched.
func watch(epoll int, fd int32, before, want uint32, key key) error {
	op := syscall.EPOLL_CTL_MOD
	switch {
	case want == 0:
		op = syscall.EPOLL_CTL_DEL
	case before == 0:
		op = syscall.EPOLL_CTL_ADD
	}
	event := syscall.EpollEvent{Events: want, Fd: key.socket, Pad: key.generation}
	return syscall.EpollCtl(epoll, op, int(fd), &event)
}

// duplicate returns another descriptor of a socket.
func duplicate(c syscall.Conn) (int32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	var fd uintptr
	var errno syscall.Errno
	if err := raw.Control(func(theirs uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, theirs, syscall.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, errno
	}
	return int32(fd), nil
}

// closeDescriptor closes a descriptor. It cannot fail in a way that matters: whatever
// Linux returns, the descriptor is free, and what was written to a socket goes its way.
func closeDescriptor(fd int32) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

func newEventfd() (int, error) {
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
