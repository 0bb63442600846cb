//go:build !noloop && !386

package relay

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// What the kernel may refuse.

// fileSocket has a descriptor that cannot be watched.
type fileSocket struct{ *os.File }

func (fileSocket) PlainSocket() {}

func TestSocketThatCannotBeWatchedEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, side := range []Party{Client, Upstream} {
		t.Run(side.String(), func(t *testing.T) {
			t.Parallel()
			file, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			f := onTCP(t, Config{})
			other := f.upstream
			if side == Upstream {
				f.Relay.upstream.conn, other = fileSocket{file}, f.client
			} else {
				f.Relay.client.conn = fileSocket{file}
			}
			f.run()
			mustReadClose(t, other, internalError)
			wantEOF(t, other)
			o := f.end(t)
			wantEnd(t, o, Gateway, 1011, "cannot be watched: "+syscall.EPERM.Error())
			if o.Panic != nil {
				t.Errorf("it panicked: %v", o.Panic)
			}
		})
	}
}

// TestSocketThatIsNotInTheSetEndsTheConnection has the set forget a client before
// what is asked of it for that is changed.
func TestSocketThatIsNotInTheSetEndsTheConnection(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	f.run()
	mustWrite(t, f.client, maskedText("hi"))
	mustRead(t, f.upstream, maskedText("hi"))
	var once sync.Once
	setTrap(t, f.Relay, func(string) {
		once.Do(func() {
			l, fd := f.place.loop, f.Relay.client.socket.fd
			if err := watch(l.epoll, fd, uint32(f.Relay.client.socket.watched), 0, key{}); err != nil {
				t.Error(err)
			}
		})
	})
	go func() {
		for {
			if _, err := f.upstream.Write(text(strings.Repeat("x", 100))); err != nil {
				return
			}
		}
	}()
	wantEnd(t, f.end(t), Gateway, 1011, "cannot be watched: "+syscall.ENOENT.Error())
	_ = f.client.Close()
	_ = f.upstream.Close()
}

// TestLoopWithoutItsSetEndsItsConnections has the loop lose its epoll set. It is
// not parallel, because it handles the panics that are no connection's.
func TestLoopWithoutItsSetEndsItsConnections(t *testing.T) {
	heard := make(chan *panics.Panic, 1)
	panics.Handle(func(p *panics.Panic) { heard <- p })
	defer panics.Handle(func(*panics.Panic) {})
	l := ownLoop(t)
	go l.run()
	var fixtures []*fixture
	for range 3 {
		f := onTCP(t, Config{})
		f.startOn(t, l)
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
		fixtures = append(fixtures, f)
	}
	setTrap(t, fixtures[0].Relay, func(string) { l.epoll = -1 })
	mustWrite(t, fixtures[0].client, maskedText("more"))
	mustRead(t, fixtures[0].upstream, maskedText("more"))
	mustWrite(t, fixtures[1].client, maskedText("more")) // for which it asks the set
	for _, f := range fixtures {
		wantEnd(t, f.end(t), Gateway, 1011, "internal error")
	}
	if p := <-heard; !strings.Contains(p.What, syscall.EBADF.Error()) {
		t.Errorf("reported: %q", p.What)
	}
}

// TestLoopThatCannotBeMadeLeavesNothing is not parallel, for it takes the process's
// descriptors.
func TestLoopThatCannotBeMadeLeavesNothing(t *testing.T) {
	if _, err := pickLoop(); err != nil {
		t.Skip(err)
	}
	before := descriptors(t)
	for _, spare := range []uint64{0, 1} {
		withDescriptors(t, spare, func() {
			if l, err := newLoop(); err == nil {
				t.Errorf("made %v of %d descriptors", l, spare)
			}
		})
	}
	waitForDescriptors(t, before)
}

// TestLoopsAreTriedAgain is not parallel, for it replaces the loops of the process
// and takes its descriptors.
func TestLoopsAreTriedAgain(t *testing.T) {
	before := loops.Load()
	defer loops.Store(before)
	loops.Store(nil)
	for _, spare := range []uint64{1, 100} {
		f := onTCP(t, Config{})
		withDescriptors(t, spare, f.run)
		if looped := f.place.loop != nil; looped != (spare == 100) {
			t.Errorf("with %d descriptors left on a loop is %t", spare, looped)
		}
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
		_ = f.client.Close()
		_ = f.upstream.Close()
		f.end(t)
	}
}
