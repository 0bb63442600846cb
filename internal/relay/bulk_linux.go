//go:build !noloop && !386

package relay

import (
	"syscall"
	"unsafe"
)

// A peer keeps up if the kernel holds no more for it than behind. For others the kernel
// is told to take no more than notSent beyond what is on its way: that costs a reader
// in bulk nothing, and 4 MiB become 0.7 for one that has stopped reading.
const (
	behind  = 512 << 10
	notSent = 256 << 10
)

// bound returns how much of most may be read at once from a side. What the other side
// then does not take is held in memory, so that much is read only where there is much,
// and the other side's kernel has room for it. As long as the budget is hardly used, the
// kernel is not asked before every message.
func (l *loop) bound(from, to *side, most int) int {
	piece := l.budget.pieceSize()
	if !from.socket.bulk {
		most = min(most, firstRead)
		if piece == largePiece {
			return most
		}
	}
	if most <= piece {
		return most
	}
	queued, free, ok := kernelRoom(to.socket.fd)
	if !ok || queued > behind {
		if ok && !to.socket.slow {
			to.socket.slow = true
			holdLess(to.socket.fd)
		}
		return piece
	}
	if to.socket.slow {
		free = min(free, behind-queued)
	}
	return min(most, max(piece, free))
}

// The kernel's numbers, which syscall lacks.
const (
	soMemInfo        = 55 // SO_MEMINFO
	tcpNotSentLowAt  = 25 // TCP_NOTSENT_LOWAT
	memInfoSendAlloc = 2  // SK_MEMINFO_WMEM_ALLOC
	memInfoSendLimit = 3  // SK_MEMINFO_SNDBUF
	memInfoQueued    = 5  // SK_MEMINFO_WMEM_QUEUED
)

// kernelRoom returns how much the kernel holds for a peer, and how much more it would
// take. It fails where the kernel cannot say.
func kernelRoom(fd int32) (queued, free int, ok bool) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, soMemInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // the kernel wants addresses
	if errno != 0 || size < 4*(memInfoQueued+1) {
		return 0, 0, false
	}
	queued = int(max(info[memInfoSendAlloc], info[memInfoQueued]))
	return queued, max(0, int(info[memInfoSendLimit])-queued), true
}

// holdLess has the kernel take less for a peer. It fails for what is no TCP, whose
// buffers are small anyway.
func holdLess(fd int32) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowAt, notSent)
}
