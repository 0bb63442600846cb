//go:build !386

package tcpdial

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// The keep-alive settings of connections that Caddy makes by the net package.
const (
	keepAliveIdle     = 15 // seconds
	keepAliveInterval = 30
	keepAliveProbes   = 9
)

// Dial connects and sends first. It gives up at the deadline, or when the context is
// done.
func Dial(ctx context.Context, to Target, first []byte, deadline time.Time) (net.Conn, error) {
	return firstOf(to, func(to Target) (net.Conn, error) { return dial(ctx, to, first, deadline) })
}

// firstOf connects to a target, or else where it says. The error is that of the first.
func firstOf(to Target, connect func(Target) (net.Conn, error)) (net.Conn, error) {
	c, err := connect(to)
	if err == nil || WasThere(err) || !to.Else.IsValid() {
		return c, err
	}
	if c, err := connect(Target{TCP: to.Else}); err == nil || WasThere(err) {
		return c, err
	}
	return nil, err
}

func dial(ctx context.Context, to Target, first []byte, deadline time.Time) (net.Conn, error) {
	fd, err := open(to)
	if err != nil {
		return nil, err
	}
	sent, err := send(fd, first)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, failed(to, err)
	}
	c := &conn{fd: fd, to: to}
	if sent == len(first) {
		return c, nil
	}
	if err := c.sendRest(ctx, first[sent:], deadline); err != nil {
		_ = c.Close()
		return nil, failed(to, err)
	}
	return c, nil
}

// Connect is Dial for who has nothing to send yet. It returns when the connection is
// there.
func Connect(ctx context.Context, to Target, deadline time.Time) (net.Conn, error) {
	return firstOf(to, func(to Target) (net.Conn, error) { return connect(ctx, to, deadline) })
}

func connect(ctx context.Context, to Target, deadline time.Time) (net.Conn, error) {
	fd, err := open(to)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, to: to}
	var broken error
	err = c.whenWritable(ctx, deadline, func(fd uintptr) bool {
		var connected bool
		connected, broken = isConnected(int(fd))
		return connected || broken != nil
	})
	if err := errors.Join(err, broken); err != nil {
		_ = c.Close()
		return nil, failed(to, err)
	}
	return c, nil
}

// isConnected reports whether a socket that connects is connected, or why it never will
// be.
func isConnected(fd int) (bool, error) {
	errno, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	if errno != 0 {
		return false, os.NewSyscallError("connect", syscall.Errno(errno))
	}
	_, err = syscall.Getpeername(fd)
	return err == nil, nil
}

func failed(to Target, err error) error {
	addr := to.addr()
	return &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: err}
}

// open makes a socket that is connected, or about to be.
func open(to Target) (fd int, err error) {
	if to.Unix != "" {
		fd, err = beginUnix(to.Unix)
	} else {
		target := to.TCP.Addr().Unmap()
		if !target.IsValid() || target.IsUnspecified() || target.Zone() != "" {
			return -1, ErrUnsupported
		}
		fd, err = begin(target, to.TCP.Port())
	}
	if err != nil {
		return -1, failed(to, err)
	}
	return fd, nil
}

// beginUnix makes a socket that is connected to a unix socket, which takes no time: a
// listener that is busy refuses.
func beginUnix(path string) (fd int, err error) {
	fd, err = socket(syscall.AF_UNIX)
	if err != nil {
		return -1, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// socket makes a socket that never has anybody wait.
func socket(family uintptr) (int, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("socket", errno)
	}
	return int(fd), nil
}

// begin makes a socket and begins to connect it. None of the system calls waits for
// anything, so that the scheduler need not hear of them.
func begin(target netip.Addr, port uint16) (fd int, err error) {
	var to address
	family, size := to.set(target, port)
	if fd, err = socket(uintptr(family)); err != nil {
		return -1, err
	}
	if err = tune(fd, target); err == nil {
		_, _, errno := syscall.RawSyscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to)), size) //nolint:gosec // the kernel wants an address
		// A connect that was interrupted goes on by itself, as any does on this socket.
		if errno == 0 || errno == syscall.EINPROGRESS || errno == syscall.EINTR {
			return fd, nil
		}
		err = os.NewSyscallError("connect", errno)
	}
	_ = syscall.Close(fd)
	return -1, err
}

// address is a socket address as the kernel reads it.
type address struct {
	family uint16
	port   [2]byte
	rest   [24]byte
}

// set fills the address in, and returns how much of it counts.
func (a *address) set(target netip.Addr, port uint16) (family uint16, size uintptr) {
	binary.BigEndian.PutUint16(a.port[:], port)
	if target.Is4() {
		ip := target.As4()
		copy(a.rest[:], ip[:])
		a.family = syscall.AF_INET
		return a.family, syscall.SizeofSockaddrInet4
	}
	ip := target.As16()
	copy(a.rest[4:], ip[:]) // behind the flow label
	a.family = syscall.AF_INET6
	return a.family, syscall.SizeofSockaddrInet6
}

// tune sets the options that the net package sets. The peer of a connection within this
// machine cannot vanish without the kernel's knowledge, so such a connection needs no
// keep-alive.
func tune(fd int, target netip.Addr) error {
	options := [...]struct {
		level, name uintptr
		value       int32
	}{
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, keepAliveIdle},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, keepAliveInterval},
		{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveProbes},
	}
	wanted := options[:]
	if target.IsLoopback() {
		wanted = options[:1]
	}
	for i := range wanted {
		o := &wanted[i]
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), o.level, o.name,
			uintptr(unsafe.Pointer(&o.value)), unsafe.Sizeof(o.value), 0); errno != 0 { //nolint:gosec // as above
			return os.NewSyscallError("setsockopt", errno)
		}
	}
	return nil
}

// send writes what the kernel takes, which is nothing before the socket is connected.
func send(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0) //nolint:gosec // as above
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EAGAIN:
			return 0, nil
		case syscall.EINTR:
		default:
			return 0, os.NewSyscallError("connect", errno)
		}
	}
}
