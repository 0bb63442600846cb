package wsgateway

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
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

const (
	maxAnswerHead    = 64 << 10 // bytes of an upstream's response head
	maxInterimAnswer = 5        // 1xx responses before the answer
	maxKeptHead      = 16 << 10 // bytes of a buffer that is kept for the next handshake

	// How long an answer is awaited before the client, too, is watched for
	// leaving: most answers are there before that would have been of use.
	patience = 100 * time.Millisecond
)

// exchange writes the head of the handshake on conn, unless that was done, and
// reads the answer. It owns conn until it returns it in an answer. ctx is that
// of the client's request. The body of a refusal may pause for as long as quiet
// says, or for ever if that is zero.
func exchange(ctx context.Context, r *http.Request, conn net.Conn, head []byte, key string, deadline time.Time, quiet time.Duration) (*answer, error) {
	from := answerReaders.Get().(*answerReader) //nolint:forcetypeassert // it holds nothing else
	from.reset(conn)
	res, err := from.converse(ctx, r, head, deadline)
	if err != nil {
		_ = conn.Close()
		from.release()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return from.conclude(ctx, r, res, key, quiet)
}

// conclude makes an answer of the final response.
func (a *answerReader) conclude(ctx context.Context, r *http.Request, res *http.Response, key string, quiet time.Duration) (*answer, error) {
	if res.StatusCode != http.StatusSwitchingProtocols {
		// The reader is the body's from now on, and nobody's after it, because
		// who closes a body cannot know whether somebody still reads it.
		conn := a.conn
		if quiet > 0 {
			a.limited.R = &impatientReader{conn, quiet}
		}
		stop := tcpdial.WhenDone(ctx, func() { _ = conn.Close() })
		res.Body = &hookedBody{ReadCloser: res.Body, onClose: func() {
			_ = conn.Close()
			stop()
		}}
		return &answer{res: res}, nil
	}
	defer a.release()
	if reason := checkAnswer(res, key, r.Header); reason != "" {
		_ = a.conn.Close()
		return nil, fmt.Errorf("%w: %s", errInvalid, reason)
	}
	done := &answer{res: res, conn: a.conn}
	if n := a.buffered.Buffered(); n > 0 {
		peeked, _ := a.buffered.Peek(n)
		done.early = bytes.Clone(peeked)
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

// answerReader reads what an upstream says to a handshake.
type answerReader struct {
	conn     net.Conn
	limited  io.LimitedReader
	buffered *bufio.Reader
	broken   error // what ended the stream of the upstream's bytes, time aside
}

func (a *answerReader) reset(conn net.Conn) {
	a.conn, a.broken = conn, nil
	a.limited = io.LimitedReader{R: a, N: maxAnswerHead}
	a.buffered.Reset(&a.limited)
}

// Read implements io.Reader for the buffer.
func (a *answerReader) Read(p []byte) (int, error) {
	n, err := a.conn.Read(p)
	if err != nil && a.broken == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		a.broken = err
	}
	return n, err
}

func (a *answerReader) release() {
	a.conn, a.limited.R = nil, nil
	a.buffered.Reset(nil)
	answerReaders.Put(a)
}

// converse sends the head, if there is one, and returns the final response.
func (a *answerReader) converse(ctx context.Context, r *http.Request, head []byte, deadline time.Time) (*http.Response, error) {
	if head == nil {
		_ = a.conn.SetDeadline(earlier(deadline, time.Now().Add(patience)))
		if res := a.switched(r); res != nil {
			a.limited.N = math.MaxInt64
			return res, nil
		}
	}
	return a.converseWatched(ctx, r, head, deadline)
}

// converseWatched does so while it looks whether the client leaves.
func (a *answerReader) converseWatched(ctx context.Context, r *http.Request, head []byte, deadline time.Time) (*http.Response, error) {
	conn := a.conn
	_ = conn.SetDeadline(deadline)
	stop := tcpdial.WhenDone(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	res, err := a.ask(ctx, r, head)
	if a.limited.N <= 0 && err != nil {
		err = fmt.Errorf("%w: its head is larger than %d bytes", errInvalid, maxAnswerHead)
	}
	a.limited.N = math.MaxInt64
	if !stop() && err == nil {
		err = failedExchange(ctx, context.Cause(ctx))
	}
	if errors.Is(err, errInvalid) && tcpdial.ToItself(conn) {
		err = fmt.Errorf("%w: nobody listens there", errDead)
	}
	return res, err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// switched reads until the buffer holds a whole head, and returns it if it is a
// 101 as upstreams write it. Of anything else, nothing has been taken from the
// buffer.
func (a *answerReader) switched(r *http.Request) *http.Response {
	for {
		head, _ := a.buffered.Peek(a.buffered.Buffered())
		if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
			res := parseSwitching(string(head[:end+2]), r)
			if res != nil {
				_, _ = a.buffered.Discard(end + 4)
			}
			return res
		}
		if len(head) == a.buffered.Size() {
			return nil
		}
		if _, err := a.buffered.Peek(len(head) + 1); err != nil {
			return nil
		}
	}
}

// parseSwitching parses the head of a 101, down to the end of its last line. It
// returns nil where that is not plain enough to be sure that net/http would say
// the same.
func parseSwitching(head string, r *http.Request) *http.Response {
	status, lines, _ := strings.Cut(head, "\r\n")
	status, ok := strings.CutPrefix(status, "HTTP/1.1 ")
	if !ok || !strings.HasPrefix(status, "101 ") || !httpguts.ValidHeaderFieldValue(status) {
		return nil
	}
	fields := make(http.Header, 8)
	values := make([]string, 0, 8)
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil
		}
		value = textproto.TrimString(value)
		switch name = canonicalName(name); name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Pragma":
			return nil // net/http makes something of them
		case "Connection":
			if !strings.EqualFold(value, "upgrade") {
				return nil // and of "close"
			}
		}
		if prior := fields[name]; prior != nil {
			fields[name] = append(prior, value)
			continue
		}
		values = append(values, value)
		fields[name] = slices.Clip(values[len(values)-1:])
	}
	return &http.Response{
		Status: status, StatusCode: http.StatusSwitchingProtocols,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: fields, Body: http.NoBody, Request: r,
	}
}

// canonicalName is http.CanonicalHeaderKey, which makes a copy of the names
// that RFC 6455 writes in its own way.
func canonicalName(name string) string {
	switch name {
	case "Sec-WebSocket-Accept":
		return "Sec-Websocket-Accept"
	case "Sec-WebSocket-Protocol":
		return "Sec-Websocket-Protocol"
	case "Sec-WebSocket-Extensions":
		return "Sec-Websocket-Extensions"
	}
	return http.CanonicalHeaderKey(name)
}

// ask sends the head and reads responses up to the first that is final.
func (a *answerReader) ask(ctx context.Context, r *http.Request, head []byte) (*http.Response, error) {
	if head != nil {
		if _, err := a.conn.Write(head); err != nil {
			return nil, failedExchange(ctx, err)
		}
	}
	for range maxInterimAnswer + 1 {
		res, err := http.ReadResponse(a.buffered, r)
		if err != nil {
			if a.broken != nil {
				err = a.broken // the head was cut off, whatever the rest of it looks like
			}
			return nil, failedExchange(ctx, err)
		}
		if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode >= 200 {
			return res, nil
		}
	}
	return nil, fmt.Errorf("%w: too many interim responses", errInvalid)
}

// failedExchange tells an upstream that drops the handshake from a silent and
// from a wrong one.
func failedExchange(ctx context.Context, err error) error {
	var netErr net.Error
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return context.Canceled
	case errors.As(err, &netErr) && netErr.Timeout(), ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errSilent, err)
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	return fmt.Errorf("%w: %w", errInvalid, err)
}

// appendHead writes our own handshake (RFC 6455 section 4.1). Nothing that
// could end a line early may get into it.
func appendHead(b []byte, r *http.Request, key string) ([]byte, error) {
	uri := r.URL.RequestURI()
	if strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, fmt.Errorf("%w: its URI has a character that HTTP does not allow", errUnsendable)
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return nil, fmt.Errorf("%w: its Host has a character that HTTP does not allow", errUnsendable)
	}
	b = append(b, "GET "...)
	b = append(b, uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	b = append(b, key...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		if name == "Host" || isHopByHop(name) {
			continue
		}
		wire := name
		switch name {
		case "Sec-Websocket-Protocol":
			wire = "Sec-WebSocket-Protocol"
		case "Sec-Websocket-Extensions":
			wire = "Sec-WebSocket-Extensions"
		}
		if !httpguts.ValidHeaderFieldName(wire) {
			return nil, fmt.Errorf("%w: header field %s has a bad name", errUnsendable, strconv.Quote(name))
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("%w: header field %s has a value that HTTP does not allow", errUnsendable, name)
			}
			b = append(b, wire...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), nil
}

// hookedBody does something more before the body is closed, once: net/http reads a
// body to its end when it is closed, which may be far away.
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

var (
	answerReaders = sync.Pool{New: func() any { return &answerReader{buffered: bufio.NewReaderSize(nil, 4<<10)} }}

	// What a head is written to.
	heads = sync.Pool{New: func() any { return new([]byte) }}
)
