package handshake

import "errors"

// The errors of a handshake with an upstream.
var (
	// ErrDead says that the upstream did not take the connection. The next one may
	// be tried.
	ErrDead = errors.New("upstream is not there")
	// ErrDropped says that the upstream took the handshake and ended the connection
	// before it answered. The handshake itself may be the cause, so that one other
	// upstream may be tried, to tell.
	ErrDropped = errors.New("upstream dropped the handshake")
	// ErrSilent says that the upstream took the connection and did not answer in
	// time.
	ErrSilent = errors.New("upstream did not answer in time")
	// ErrInvalid says that the upstream's answer is not a sound answer to the
	// handshake.
	ErrInvalid = errors.New("upstream answered the handshake wrongly")
	// ErrUnsendable says that our handshake cannot be written, because a header
	// operation or a rewrite produced a text that HTTP does not allow there.
	ErrUnsendable = errors.New("handshake cannot be sent")
)
