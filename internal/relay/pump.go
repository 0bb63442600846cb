package relay

// pump reads from one side until its stream ends and passes on what it reads.
func (r *Relay) pump(from, to *side) {
	if early := from.early; len(early) > 0 {
		from.early = nil // not to be held for as long as the connection lives
		r.pass(from, to, early)
	}
	in := newReader(from.conn, r.buffers)
	defer in.release()
	for {
		p, err := in.read()
		if len(p) > 0 {
			r.pass(from, to, p)
		}
		in.release()
		if err != nil {
			r.streamEnded(from, err)
			return
		}
	}
}

// pass writes p, which came from one side, to the other, up to a close frame.
func (r *Relay) pass(from, to *side, p []byte) {
	for len(p) > 0 {
		cut, ok := r.takeBaton(to)
		if !ok {
			r.drop(from, p)
			return
		}
		n := from.scanPiece(p, cut)
		if _, _, closing := from.scan.Close(); closing {
			r.closeFrameCame(from)
		}
		err := r.write(to, p[:n])
		r.returnBaton(from, to, err)
		p = p[n:]
	}
}

// scanPiece follows the stream over as much of p as may be written in one go:
// all of it, but no further than a close frame, and no further than the end of
// the frame in progress if a close frame of ours waits for it (cut).
func (s *side) scanPiece(p []byte, cut bool) int {
	n := 0
	for n < len(p) {
		n += s.scan.ScanToBoundary(p[n:])
		if cut {
			break
		}
		if _, _, closing := s.scan.Close(); closing {
			break
		}
	}
	return n
}

// drop follows the stream over what can no longer be passed on, to see the close
// frame with which the side answers ours.
func (r *Relay) drop(from *side, p []byte) {
	if _, _, closed := from.scan.Close(); closed {
		return
	}
	from.scan.Scan(p)
	_, _, closed := from.scan.Close()

	r.mu.Lock()
	from.counts = from.scan.Counts()
	if closed {
		from.ended = true
	}
	r.settleAndUnlock()
}
