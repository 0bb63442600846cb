package relay

// pump reads from one side until its stream ends and passes on what it reads.
func (r *Relay) pump(from, to *side) {
	watched := newProgress(r, to)
	if early := from.early; len(early) > 0 {
		from.early = nil // not to be held for as long as the connection lives
		r.pass(from, to, early, watched)
	}
	in := newReader(from.conn, r.buffers)
	for {
		p, err := in.read()
		if len(p) > 0 {
			r.pass(from, to, p, watched)
		}
		in.release() // not after a panic: nobody knows who still has it
		if err != nil {
			r.streamEnded(from, err)
			return
		}
	}
}

// pass writes p, which came from one side, to the other, up to a close frame.
func (r *Relay) pass(from, to *side, p []byte, watched *progress) {
	for len(p) > 0 {
		n, ok := r.takeBaton(from, to, p)
		if !ok {
			return
		}
		spring(r, "pump")
		err := r.write(to, p[:n], watched)
		r.returnBaton(from, to, err)
		p = p[n:]
	}
}
