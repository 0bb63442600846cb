//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// loop serves raw, non-blocking sockets with level-triggered epoll: one read for
// an event, one write for a message. The load generator and the backend run on
// it, so that as much as possible of the machine is left to the proxy between
// them.
type loop struct {
	epoll int
	timer int // -1 without ticks
	socks []*sock
	buf   []byte
	stop  atomic.Bool

	// received is called with what came; an error ends the socket.
	received func(s *sock, p []byte) error
	// accepted is called when the listener is ready.
	accepted func()
	// tick is called with how many ticks are over.
	tick func(n uint64)
	// gone is called with a socket that has ended, before it is closed.
	gone func(s *sock, err error)

	listener int
}

// sock is a socket of a loop. Only the loop's goroutine may use it.
type sock struct {
	fd      int
	watched uint32
	out     []byte // what the socket did not take yet
	closing bool   // once out is empty
	secure  *secured
	in      inbox
	number  uint32
	sent    uint32 // messages
	back    uint32 // messages that came
	server  *served
}

const tickEvery = time.Millisecond

func newLoop() (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &loop{epoll: epoll, timer: -1, listener: -1, buf: make([]byte, 256<<10), gone: func(*sock, error) {}}, nil
}

// startTicks has tick called every millisecond.
func (l *loop) startTicks() error {
	const clockMonotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return os.NewSyscallError("timerfd_create", errno)
	}
	l.timer = int(fd)
	every := syscall.NsecToTimespec(tickEvery.Nanoseconds())
	spec := [2]syscall.Timespec{every, every}
	_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0) //nolint:gosec // the kernel wants an address
	if errno != 0 {
		return os.NewSyscallError("timerfd_settime", errno)
	}
	return l.control(syscall.EPOLL_CTL_ADD, l.timer, syscall.EPOLLIN)
}

func (l *loop) stopTicks() {
	if l.timer >= 0 {
		_ = syscall.Close(l.timer)
		l.timer = -1
	}
}

func (l *loop) control(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(l.epoll, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)}))
}

func (l *loop) add(s *sock) error {
	for s.fd >= len(l.socks) {
		l.socks = append(l.socks, make([]*sock, 1024)...)
	}
	l.socks[s.fd] = s
	s.watched = syscall.EPOLLIN
	return l.control(syscall.EPOLL_CTL_ADD, s.fd, s.watched)
}

// run serves until stop is set.
func (l *loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]syscall.EpollEvent, 256)
	for !l.stop.Load() {
		n, err := syscall.EpollWait(l.epoll, events, 50)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:max(n, 0)] {
			l.handle(int(e.Fd), e.Events)
		}
	}
	return nil
}

func (l *loop) handle(fd int, events uint32) {
	switch {
	case fd == l.timer:
		var p [8]byte
		if n, err := syscall.Read(fd, p[:]); err == nil && n == len(p) {
			l.tick(*(*uint64)(unsafe.Pointer(&p))) //nolint:gosec // as the kernel wrote it
		}
	case fd == l.listener:
		l.accepted()
	case l.socks[fd] != nil:
		l.serve(l.socks[fd], events)
	}
}

func (l *loop) serve(s *sock, events uint32) {
	if events&syscall.EPOLLOUT != 0 {
		if err := l.flush(s); err != nil {
			l.end(s, err)
			return
		}
	}
	if events&^syscall.EPOLLOUT == 0 || s.watched&syscall.EPOLLIN == 0 && events&(syscall.EPOLLERR|syscall.EPOLLHUP) == 0 {
		return
	}
	n, err := syscall.Read(s.fd, l.buf)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return
	case err == nil && n == 0:
		err = io.EOF
	case err == nil && s.secure != nil:
		err = s.secure.decrypt(l, s, l.buf[:n])
	case err == nil:
		err = l.received(s, l.buf[:n])
	}
	if err != nil {
		l.end(s, err)
	}
}

// send writes p, or keeps what the socket does not take.
func (l *loop) send(s *sock, p []byte) error {
	if s.secure != nil {
		_, err := s.secure.tls.Write(p)
		return err
	}
	return l.sendRaw(s, p)
}

func (l *loop) sendRaw(s *sock, p []byte) error {
	if len(s.out) > 0 {
		s.out = append(s.out, p...)
		return nil
	}
	n, err := syscall.Write(s.fd, p)
	if errors.Is(err, syscall.EAGAIN) {
		n, err = 0, nil
	}
	if err != nil {
		return err
	}
	if n < len(p) {
		s.out = append(s.out[:0], p[n:]...)
		return l.interest(s)
	}
	return nil
}

func (l *loop) flush(s *sock) error {
	for len(s.out) > 0 {
		n, err := syscall.Write(s.fd, s.out)
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		s.out = s.out[n:]
	}
	s.out = nil
	if s.server != nil && s.server.flood > 0 {
		s.out = floodPiece // the rest comes when it has gone out
		s.server.flood -= len(floodPiece)
	}
	if s.closing {
		return io.EOF
	}
	return l.interest(s)
}

// interest watches for what the socket needs. A server does not read from
// somebody who does not take the answers.
func (l *loop) interest(s *sock) error {
	want := uint32(syscall.EPOLLIN)
	if len(s.out) > 0 || s.server != nil && s.server.flood > 0 {
		want |= syscall.EPOLLOUT
		if s.server != nil {
			want = syscall.EPOLLOUT
		}
	}
	if want == s.watched {
		return nil
	}
	s.watched = want
	return l.control(syscall.EPOLL_CTL_MOD, s.fd, want)
}

func (l *loop) end(s *sock, err error) {
	l.gone(s, err)
	l.socks[s.fd] = nil
	_ = syscall.Close(s.fd)
}

// close ends all sockets; the loop must not run any more.
func (l *loop) close() {
	for _, s := range l.socks {
		if s != nil {
			_ = syscall.Close(s.fd)
		}
	}
	l.stopTicks()
	_ = syscall.Close(l.epoll)
}
