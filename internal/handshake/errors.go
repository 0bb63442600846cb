package handshake

import "errors"

// What a handshake with an upstream may come to, other than an answer.
var (
	// ErrDead says that the upstream did not take the connection. The next one may
	// be tried.
	ErrDead = errors.New("upstream is not there")
	// ErrDropped says that the upstream took the handshake and ended the connection
	// before it answered. That may be for what the handshake asks for, so that one
	// other upstream may be tried, to tell.
	ErrDropped = errors.New("upstream dropped the handshake")
	// ErrSilent says that the upstream took the connection and did not answer in
	// time.
	ErrSilent = errors.New("upstream did not answer in time")
	// ErrInvalid says that what the upstream answered is not a sound answer to the
	// handshake.
	ErrInvalid = errors.New("upstream answered the handshake wrongly")
	// ErrUnsendable says that our handshake cannot be written, because a header
	// operation or a rewrite produced what HTTP does not allow.
	ErrUnsendable = errors.New("handshake cannot be sent")
)
