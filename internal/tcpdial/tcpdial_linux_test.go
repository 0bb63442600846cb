//go:build !386

package tcpdial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// listen returns a listener and its address.
func listen(t testing.TB, at string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	tcp := l.(*net.TCPListener)
	return tcp, tcp.Addr().(*net.TCPAddr).AddrPort()
}

func TestFirstBytesArrive(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		at   string
		size int
	}{
		"IPv4":                  {"127.0.0.1:0", 300},
		"IPv6":                  {"[::1]:0", 300},
		"nothing":               {"127.0.0.1:0", 0},
		"more than a bufferful": {"127.0.0.1:0", 16 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, addr := listen(t, row.at)
			first := bytes.Repeat([]byte("0123456789abcdef"), row.size/16+1)[:row.size]
			got := make(chan []byte, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					t.Error(err)
				}
				defer c.Close()
				_, _ = io.WriteString(c, "welcome")
				p, _ := io.ReadAll(c)
				got <- p
			}()
			c, err := Dial(t.Context(), Target{TCP: addr}, first, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			welcome := make([]byte, 7)
			if _, err := io.ReadFull(c, welcome); err != nil || string(welcome) != "welcome" {
				t.Errorf("read %q, %v", welcome, err)
			}
			if c.RemoteAddr().String() != addr.String() || c.LocalAddr().(*net.TCPAddr).Port == 0 {
				t.Errorf("it goes from %v to %v", c.LocalAddr(), c.RemoteAddr())
			}
			_, err = c.Write([]byte("more"))
			_ = c.Close()
			if p := <-got; err != nil || !bytes.Equal(p, append(first, "more"...)) {
				t.Errorf("%d bytes arrived of %d, %v", len(p), len(first)+4, err)
			}
		})
	}
}

func TestElseIsTriedWhereNobodyListens(t *testing.T) {
	t.Parallel()
	gone, nobody := listen(t, "127.0.0.1:0")
	_ = gone.Close()
	l, somebody := listen(t, "127.0.0.1:0")
	for name, dial := range map[string]func(Target) (net.Conn, error){
		"with first bytes": func(to Target) (net.Conn, error) {
			return Dial(t.Context(), to, []byte("hi"), time.Now().Add(time.Minute))
		},
		"without any": func(to Target) (net.Conn, error) {
			return Connect(t.Context(), to, time.Now().Add(time.Minute))
		},
	} {
		c, err := dial(Target{TCP: nobody, Else: somebody})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.RemoteAddr().String(); got != somebody.String() {
			t.Errorf("%s: it goes to %s", name, got)
		}
		_ = c.Close()
	}
	_ = l.Close()
	_, err := Dial(t.Context(), Target{TCP: nobody, Else: somebody}, nil, time.Now().Add(time.Minute))
	failure, ok := errors.AsType[*net.OpError](err)
	if !ok || failure.Addr.String() != nobody.String() || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, addr := listen(t, "127.0.0.1:0")
	_ = l.Close()
	c, err := Dial(t.Context(), Target{TCP: addr}, []byte("hello"), time.Now().Add(time.Minute))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, %v", c, err)
	}
}

// busy returns the address of a listener that takes no connections any more.
func busy(t *testing.T) netip.AddrPort {
	t.Helper()
	l, addr := listen(t, "127.0.0.1:0")
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp", addr.String(), 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("a listener without a backlog takes connections all the same")
	return addr
}

func TestGivesUpAtTheDeadline(t *testing.T) {
	t.Parallel()
	c, err := Dial(t.Context(), Target{TCP: busy(t)}, []byte("hello"), time.Now().Add(20*time.Millisecond))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestGivesUpWhenTheContextIsDone(t *testing.T) {
	t.Parallel()
	addr := busy(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c, err := Dial(ctx, Target{TCP: addr}, []byte("hello"), time.Now().Add(time.Minute))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", c, err)
	}
}

// lastMoment is a context that ends right after it was found not to have ended.
type lastMoment struct {
	context.Context
	end context.CancelFunc
}

func (c lastMoment) Err() error {
	defer c.end()
	return c.Context.Err()
}

func TestContextThatEndsAtTheLastMomentLeavesNoDeadlineBehind(t *testing.T) {
	t.Parallel()
	l, addr := listen(t, "127.0.0.1:0")
	for name, when := range map[string]func(end context.CancelFunc){
		"never":                  func(context.CancelFunc) {},
		"while the rest is sent": func(end context.CancelFunc) { go end() },
	} {
		t.Run(name, func(t *testing.T) {
			for range 200 {
				dialed, err := Dial(t.Context(), Target{TCP: addr}, nil, time.Now().Add(time.Minute))
				if err != nil {
					t.Fatal(err)
				}
				peer, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				ctx, end := context.WithCancel(t.Context())
				when(end)
				err = dialed.(*conn).sendRest(lastMoment{ctx, end}, []byte("hello"), time.Now().Add(time.Minute))
				end()
				for range 20 {
					if err == nil {
						runtime.Gosched() // to whoever is late
						_, err = dialed.Write([]byte("more"))
					}
				}
				_, _ = dialed.Close(), peer.Close()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestAddressesForAnotherDialer(t *testing.T) {
	t.Parallel()
	for _, addr := range []netip.AddrPort{
		{},
		netip.MustParseAddrPort("0.0.0.0:80"),
		netip.MustParseAddrPort("[::]:80"),
		netip.MustParseAddrPort("[fe80::1%eth0]:80"),
	} {
		if c, err := Dial(t.Context(), Target{TCP: addr}, nil, time.Time{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: got %v, %v", addr, c, err)
		}
	}
}

// optionOf is an option of TCP of a connection.
func optionOf(t *testing.T, c net.Conn, option int) (v int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, option) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return v
}

func TestOptionsAreThoseOfTheNetPackage(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]netip.Addr{
		"elsewhere":    netip.MustParseAddr("192.0.2.1"),
		"this machine": netip.MustParseAddr("127.0.0.1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Close(fd)
			if err := tune(fd, target); err != nil {
				t.Fatal(err)
			}
			get := func(level, option int) int {
				v, err := syscall.GetsockoptInt(fd, level, option)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			if get(syscall.IPPROTO_TCP, syscall.TCP_NODELAY) == 0 {
				t.Error("small messages wait")
			}
			asks := get(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) != 0
			if asks == target.IsLoopback() {
				t.Errorf("keep-alive is %t", asks)
			}
			if !asks {
				return
			}
			netOptions := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Interval: 30 * time.Second}}
			l, _ := listen(t, "127.0.0.1:0")
			theirs, err := netOptions.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			for _, option := range []int{syscall.TCP_KEEPIDLE, syscall.TCP_KEEPINTVL, syscall.TCP_KEEPCNT} {
				if ours, want := get(syscall.IPPROTO_TCP, option), optionOf(t, theirs, option); ours != want {
					t.Errorf("option %d of keep-alive is %d, and %d by the net package", option, ours, want)
				}
			}
		})
	}
}

func TestConnectionToItself(t *testing.T) {
	t.Parallel()
	l, addr := listen(t, "127.0.0.1:0")
	c, err := Dial(t.Context(), Target{TCP: addr}, nil, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if ToItself(c) {
		t.Error("to a listener, that is")
	}
	_ = l.Close()
	own := net.TCPAddrFromAddrPort(addr)
	self, err := (&net.Dialer{LocalAddr: own}).Dial("tcp", addr.String())
	if err != nil {
		t.Skip(err)
	}
	defer self.Close()
	if !ToItself(self) {
		t.Error("from a port to itself")
	}
}

func BenchmarkDial(b *testing.B) {
	l, addr := listen(b, "127.0.0.1:0")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		c, err := Dial(b.Context(), Target{TCP: addr}, []byte("hello"), time.Now().Add(time.Minute))
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

func TestConnectionIsThereBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, addr := listen(t, at)
			c, err := Connect(t.Context(), Target{TCP: addr}, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			if _, err := io.WriteString(c, "hello"); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 5)
			if _, err := io.ReadFull(peer, p); err != nil || string(p) != "hello" {
				t.Errorf("read %q, %v", p, err)
			}
		})
	}
}

func TestConnectionThatCannotBeMade(t *testing.T) {
	t.Parallel()
	l, nobody := listen(t, "127.0.0.1:0")
	_ = l.Close()
	full := busy(t)
	soon := func() time.Time { return time.Now().Add(20 * time.Millisecond) }
	late := func() time.Time { return time.Now().Add(time.Minute) }
	left, leave := context.WithCancel(t.Context())
	leave()
	for name, row := range map[string]struct {
		ctx      context.Context
		addr     netip.AddrPort
		deadline time.Time
		want     error
	}{
		"nobody listens":         {t.Context(), nobody, late(), syscall.ECONNREFUSED},
		"until the deadline":     {t.Context(), full, soon(), os.ErrDeadlineExceeded},
		"until the client left":  {left, full, late(), context.Canceled},
		"for the net package":    {t.Context(), netip.AddrPort{}, late(), ErrUnsupported},
		"for the net package, 2": {t.Context(), netip.MustParseAddrPort("[fe80::1%eth0]:80"), late(), ErrUnsupported},
	} {
		if c, err := Connect(row.ctx, Target{TCP: row.addr}, row.deadline); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, %v, want %v", name, c, err, row.want)
		}
	}
}
