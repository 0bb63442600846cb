package relay

// pump reads from one side until that side's stream ends, and passes the bytes on.
func (r *Relay) pump(from, to *side) {
	pace := newProgress(r, to)
	if early := from.early; len(early) > 0 {
		from.early = nil // else it would be held for as long as the connection lives
		r.pass(from, to, early, pace)
	}
	in := newReader(from.conn, r.buffers)
	for {
		p, err := in.read()
		if len(p) > 0 {
			r.pass(from, to, p, pace)
		}
		in.release() // not after a panic: the buffer may still be in use
		if err != nil {
			r.streamEnded(from, err)
			return
		}
	}
}

// pass writes p, which came from one side, to the other, up to a close frame.
func (r *Relay) pass(from, to *side, p []byte, pace *progress) {
	for len(p) > 0 {
		n, ok := r.takeBaton(from, to, p)
		if !ok {
			return
		}
		spring(r, "pump")
		err := r.write(to, p[:n], pace)
		r.returnBaton(from, to, err)
		p = p[n:]
	}
}
