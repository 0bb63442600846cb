package handshake

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

const (
	maxAnswerHead    = 64 << 10 // bytes of an upstream's response head
	maxInterimAnswer = 5        // 1xx responses before the answer

	// How long an answer is awaited before the gateway also watches whether the
	// client leaves: most answers arrive before that would be of use.
	patience = 100 * time.Millisecond
)

// Answer is an upstream's answer to a handshake: an open connection after a verified
// 101, or else a refusal with its body.
type Answer struct {
	Res   *http.Response
	Conn  relay.Conn // nil unless it is a 101
	Early []byte     // what arrived behind the 101
}

// Exchange writes the head of the handshake in r on conn, unless head is nil because
// that was done, and reads the answer to key. Exchange owns conn until it returns conn
// in an answer. ctx is the context of the client's request. The body of a refusal may
// pause for as long as quiet says, or for ever if quiet is zero.
func Exchange(ctx context.Context, r *http.Request, conn net.Conn, head []byte, key string, deadline time.Time, quiet time.Duration) (*Answer, error) {
	from := answerReaders.Get().(*answerReader) //nolint:forcetypeassert // it holds nothing else
	from.reset(conn)
	answered := false
	defer func() { // also where something on the way panics
		if !answered {
			_ = conn.Close()
		}
	}()
	res, err := from.converse(ctx, r, head, deadline) //nolint:bodyclose // the answer has it
	if err != nil {
		from.release()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	a, err := from.conclude(ctx, r, res, key, quiet)
	answered = err == nil
	return a, err
}

// conclude makes an answer of the final response.
func (a *answerReader) conclude(ctx context.Context, r *http.Request, res *http.Response, key string, quiet time.Duration) (*Answer, error) {
	if res.StatusCode != http.StatusSwitchingProtocols {
		// The reader is the body's from now on, and goes back to no pool, because the
		// caller that closes a body cannot know whether another still reads it.
		conn := a.conn
		if quiet > 0 {
			a.limited.R = &impatientReader{conn, quiet}
		}
		stop := tcpdial.WhenDone(ctx, func() { _ = conn.Close() })
		res.Body = HookBody(res.Body, func() {
			_ = conn.Close()
			stop()
		})
		return &Answer{Res: res}, nil
	}
	defer a.release()
	if reason := CheckAnswer(res, key, r.Header); reason != "" {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, reason)
	}
	done := &Answer{Res: res, Conn: a.conn}
	if n := a.buffered.Buffered(); n > 0 {
		peeked, _ := a.buffered.Peek(n)
		done.Early = bytes.Clone(peeked)
	}
	return done, nil
}

// impatientReader waits for no longer than the limit for something to read.
type impatientReader struct {
	conn  net.Conn
	limit time.Duration
}

// Read implements io.Reader.
func (r *impatientReader) Read(p []byte) (int, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(r.limit))
	return r.conn.Read(p)
}

// answerReader reads an upstream's answer to a handshake.
type answerReader struct {
	conn     net.Conn
	loose    tcpdial.Loose // the same conn while it is waited for on a loop; else nil
	until    time.Time     // how long it is
	limited  io.LimitedReader
	buffered *bufio.Reader
	broken   error // the error that ended the upstream's bytes, timeouts aside
}

func (a *answerReader) reset(conn net.Conn) {
	a.conn, a.broken = conn, nil
	a.limited = io.LimitedReader{R: a, N: maxAnswerHead}
	a.buffered.Reset(&a.limited)
}

// Read implements io.Reader for the buffer.
func (a *answerReader) Read(p []byte) (int, error) {
	n, err := a.read(p)
	if err != nil && a.broken == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		a.broken = err
	}
	return n, err
}

func (a *answerReader) read(p []byte) (int, error) {
	if a.loose == nil {
		return a.conn.Read(p)
	}
	n, err := relay.Await(a.loose, p, a.until)
	if err != relay.ErrNoLoop { //nolint:errorlint // it is not wrapped
		return n, err
	}
	a.loose = nil
	_ = a.conn.SetDeadline(a.until)
	return a.conn.Read(p)
}

func (a *answerReader) release() {
	a.conn, a.loose, a.limited.R = nil, nil, nil
	a.buffered.Reset(nil)
	answerReaders.Put(a)
}

// converse sends the head, unless that is nil, and returns the final response.
func (a *answerReader) converse(ctx context.Context, r *http.Request, head []byte, deadline time.Time) (*http.Response, error) {
	if head == nil {
		a.until = earlier(deadline, time.Now().Add(patience))
		if a.loose, _ = a.conn.(tcpdial.Loose); a.loose == nil {
			_ = a.conn.SetDeadline(a.until)
		}
		res := a.switched(r)
		a.loose = nil
		if res != nil {
			a.limited.N = math.MaxInt64
			return res, nil
		}
	}
	return a.converseWatched(ctx, r, head, deadline)
}

// converseWatched is converse while the gateway watches whether the client leaves.
func (a *answerReader) converseWatched(ctx context.Context, r *http.Request, head []byte, deadline time.Time) (*http.Response, error) {
	conn := a.conn
	_ = conn.SetDeadline(deadline)
	stop := tcpdial.WhenDone(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	res, err := a.ask(ctx, r, head)
	if a.limited.N <= 0 && err != nil {
		err = fmt.Errorf("%w: its head is larger than %d bytes", ErrInvalid, maxAnswerHead)
	}
	a.limited.N = math.MaxInt64
	if !stop() && err == nil {
		err = Failed(ctx, context.Cause(ctx))
	}
	if errors.Is(err, ErrInvalid) && tcpdial.ToItself(conn) {
		err = fmt.Errorf("%w: nobody listens there", ErrDead)
	}
	return res, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// ask sends the head and reads responses up to the first that is final.
func (a *answerReader) ask(ctx context.Context, r *http.Request, head []byte) (*http.Response, error) {
	if head != nil {
		if _, err := a.conn.Write(head); err != nil {
			return nil, Failed(ctx, err)
		}
	}
	for range maxInterimAnswer + 1 {
		res, err := http.ReadResponse(a.buffered, r)
		if err != nil {
			if a.broken != nil {
				err = a.broken // the head was cut off, whatever the rest of it looks like
			}
			return nil, Failed(ctx, err)
		}
		if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode >= 200 {
			return res, nil
		}
	}
	return nil, fmt.Errorf("%w: too many interim responses", ErrInvalid)
}

// Failed wraps an error that ended the wait for an answer by its meaning: ErrDropped,
// ErrSilent or ErrInvalid of the upstream, or context.Canceled where the client left.
func Failed(ctx context.Context, err error) error {
	var netErr net.Error
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return context.Canceled
	case errors.As(err, &netErr) && netErr.Timeout(), ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrSilent, err)
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrDropped, err)
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// HookBody has onClose called once, before the body is closed: net/http reads a body
// to its end when it is closed, and the end may be far away.
func HookBody(body io.ReadCloser, onClose func()) io.ReadCloser {
	return &hookedBody{ReadCloser: body, onClose: onClose}
}

// hookedBody is a body with a function that its Close calls first.
type hookedBody struct {
	io.ReadCloser
	once    sync.Once
	onClose func()
}

// Close implements io.Closer.
func (b *hookedBody) Close() error {
	b.once.Do(b.onClose)
	return b.ReadCloser.Close()
}

var answerReaders = sync.Pool{New: func() any { return &answerReader{buffered: bufio.NewReaderSize(nil, 4<<10)} }}
