package relay

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The most that is read at once for a side that is slow to take what is written to it,
// by how much of the budget is used. Whatever cannot be written is held in the end.
const (
	largePiece  = 64 << 10
	mediumPiece = 16 << 10
	smallPiece  = 4 << 10
)

// overshoot is by how much the budget may be exceeded until a holder that goes on to hold
// more does not leave it to others to shed.
const overshoot = 512 << 10

// budget is how much may be held in memory for all sides of the process that are
// stalled, and how much is. If there is more than may be, the side that has been
// stalled for longest is ended, then the next.
//
// What is held is charged where a side stalls, and not for what flows. A charge costs
// the same however many connections there are.
type budget struct {
	used atomic.Int64
	most atomic.Int64 // 0 for the default that has not been asked for yet

	mu      sync.Mutex // guards the changing of holders
	holders atomic.Pointer[[]holder]
}

// holder is what holds bytes for stalled sides: a loop, or all that goroutines relay
// together. Its methods are called from any goroutine.
type holder interface {
	// stalledSince returns the moment since which the longest stalled side of the
	// holder has been stalled, in nanoseconds of any clock that all holders share. It
	// fails if no side is.
	stalledSince() (since int64, ok bool)

	// shed makes the holder call [budget.relieve] soon, in a goroutine of its own and
	// not in the caller's.
	shed()
}

// processBudget is that of all relays.
var processBudget budget

// SetBuffers sets how many bytes may be held in memory for all sides that are stalled,
// from now on; 0 sets the default.
func SetBuffers(bytes int64) { processBudget.set(bytes) }

// Buffers returns how many bytes are held in memory for all sides that are stalled, and
// how many may be.
func Buffers() (used, most int64) {
	return processBudget.used.Load(), processBudget.limit()
}

// Hold counts n bytes that are held from now on for a side that has not sent all of a
// message. They are not to be held, and are not counted, where that fails: nobody can be
// ended for them but the side itself, and so they may take half of the budget.
func Hold(n int) (ok bool) {
	if parts.Add(int64(n)) > processBudget.limit()/2 {
		parts.Add(int64(-n))
		return false
	}
	Charge(n)
	return true
}

// LetGo counts n bytes that are held no longer, after Hold.
func LetGo(n int) {
	parts.Add(int64(-n))
	Uncharge(n)
}

// parts is what Hold has counted.
var parts atomic.Int64

// Charge counts n bytes that are held from now on for a side that does not take them. If
// too much is held in the process, the side is ended that has taken nothing for longest.
func Charge(n int) {
	processBudget.charge(n)
	if processBudget.exceeded() {
		processWrites.lookLater()
	}
}

// Uncharge counts n bytes that are held no longer, after Charge.
func Uncharge(n int) { processBudget.uncharge(n) }

// set takes effect at the next charge.
func (b *budget) set(bytes int64) { b.most.Store(max(bytes, 0)) }

func (b *budget) limit() int64 {
	most := b.most.Load()
	if most == 0 { // only now, because Caddy sets the memory limit when it starts
		most = DefaultBuffers()
		b.most.CompareAndSwap(0, most)
	}
	return most
}

// charge counts n bytes that are held from now on. If there are too many then, the
// holder whose turn it is is asked to shed.
func (b *budget) charge(n int) {
	if b.used.Add(int64(n)) > b.limit() {
		b.callLongest()
	}
}

// uncharge counts n bytes that are held no longer.
func (b *budget) uncharge(n int) { b.used.Add(int64(-n)) }

// exceeded reports whether more is held than may be.
func (b *budget) exceeded() bool { return b.used.Load() > b.limit() }

// pieceSize returns how much may be read at once for a side that is slow.
func (b *budget) pieceSize() int {
	used, most := b.used.Load(), b.limit()
	switch {
	case used < most/2:
		return largePiece
	case used < most/4*3:
		return mediumPiece
	default:
		return smallPiece
	}
}

// relieve is called by a holder that was asked to shed. The holder ends its longest
// stalled connections for as long as too much is held and none of another holder has
// been stalled for longer; end ends one of them, and reports whether there was one. A
// holder that is not quick enough does not make the others exceed the budget by much.
func (b *budget) relieve(h holder, end func() bool) {
	for b.exceeded() {
		longest := b.longest()
		if longest == nil {
			return // what is too much is being let go, or passed on
		}
		if longest != h {
			longest.shed()
			if b.used.Load() <= b.limit()+overshoot {
				return
			}
		}
		if !end() {
			return
		}
	}
}

// callLongest asks the holder with the longest stalled side to shed.
func (b *budget) callLongest() {
	if h := b.longest(); h != nil {
		h.shed()
	}
}

// longest returns the holder with the longest stalled side, or nil if no side is
// stalled.
func (b *budget) longest() holder {
	var longest holder
	var first int64
	for _, h := range b.all() {
		if since, ok := h.stalledSince(); ok && (longest == nil || since < first) {
			longest, first = h, since
		}
	}
	return longest
}

func (b *budget) all() []holder {
	if list := b.holders.Load(); list != nil {
		return *list
	}
	return nil
}

// enlist makes a holder one that may be asked to shed.
func (b *budget) enlist(h holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := append(slices.Clone(b.all()), h)
	b.holders.Store(&list)
}

// dismiss undoes enlist.
func (b *budget) dismiss(h holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(b.all()), func(other holder) bool { return other == h })
	b.holders.Store(&list)
}
