package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

var (
	errClosed = errors.New("the engine is closed")
	errStale  = errors.New("the engine has a later word of the node: this one is dropped")
)

// engine is a [fleet.Engine] over one connection that all calls share, and one for each
// call to Listen.
type engine struct {
	client  rueidis.Client
	dialer  *dialer
	scripts scripts
	prefix  string // of all keys, with the hash tag
	secrets []string
	down    atomic.Bool   // the last call had no answer
	done    chan struct{} // closed by Close
	once    sync.Once
}

// open connects, and looks at the server's version.
func open(ctx context.Context, options rueidis.ClientOption, prefix string, scripts scripts) (*engine, error) {
	e := &engine{
		dialer:  &dialer{conns: make(map[*conn]struct{})},
		scripts: scripts,
		prefix:  "{" + prefix + "}:",
		done:    make(chan struct{}),
	}
	for _, secret := range []string{options.Password, options.Sentinel.Password} {
		if secret != "" {
			e.secrets = append(e.secrets, secret)
		}
	}
	options.DialCtxFn = e.dialer.dial
	stop := context.AfterFunc(ctx, func() { // NewClient knows of no context
		defer panics.Contain()
		e.dialer.close()
	})
	err := e.connect(ctx, options)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		e.Close()
		if cause := ctx.Err(); cause != nil {
			err = fmt.Errorf("%w before the server answered", cause)
		}
		return nil, e.explain(err)
	}
	return e, nil
}

func (e *engine) connect(ctx context.Context, options rueidis.ClientOption) error {
	client, err := rueidis.NewClient(options)
	if err != nil {
		return err
	}
	e.client = client
	info, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return err
	}
	return checkVersion(info)
}

// checkVersion returns an error where the server is older than Redis 6.2.
func checkVersion(info string) error {
	for line := range strings.Lines(info) {
		version, found := strings.CutPrefix(strings.TrimSpace(line), "redis_version:")
		if !found {
			continue
		}
		parts := strings.SplitN(version, ".", 3)
		major, err := strconv.Atoi(parts[0])
		minor := 0
		if err == nil && len(parts) > 1 {
			minor, err = strconv.Atoi(parts[1])
		}
		if err == nil && (major > 6 || major == 6 && minor >= 2) {
			return nil
		}
		return fmt.Errorf("the server is Redis %s: use 6.2 or later, or Valkey", version)
	}
	return errors.New("the server does not say which version of Redis it is: use Redis 6.2 or later, or Valkey")
}

// Close implements [fleet.Engine].
func (e *engine) Close() {
	e.once.Do(func() {
		close(e.done)
		e.dialer.close()
		if e.client != nil {
			e.client.Close()
		}
	})
}

// call returns what do returns, or an error once ctx is done: the client opens a
// connection within the first call that needs one, and others wait for that, whatever
// their contexts say. keys are those that do uses, for an error about foreign content.
func call[T any](ctx context.Context, e *engine, keys []string, do func(ctx context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	select {
	case <-e.done:
		return none, errClosed
	default:
	}
	result := make(chan outcome, 1)
	go func() {
		var out outcome
		defer func() { result <- out }()
		defer panics.ContainInto(&out.err, nil)
		e.reconnect()
		if out.err = ctx.Err(); out.err != nil {
			return // nobody waits for it, and nothing was sent
		}
		out.value, out.err = do(ctx)
		e.down.Store(!answered(out.err))
		out.err = e.explain(out.err)
		if isForeign(out.err) {
			out.err = e.foreign(keys, out.err)
		}
	}()
	select {
	case out := <-result:
		return out.value, out.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// answered reports whether the error is about what the server has answered.
func answered(err error) bool {
	if _, is := rueidis.IsRedisErr(err); is {
		return true
	}
	return err == nil || errors.Is(err, fleet.ErrLost) || errors.Is(err, errStale) || errors.Is(err, errAnswer)
}

// reconnect waits until the server answers, or does not, where it was down: a connection
// may take longer than an answer may.
func (e *engine) reconnect() {
	if !e.down.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*dialTimeout)
	defer cancel()
	if answered(e.client.Do(ctx, e.client.B().Type().Key(e.prefix+"nodes").Build()).Error()) {
		e.down.Store(false)
	}
}

// explain returns the error without passwords, and with the fix where there is one.
func (e *engine) explain(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	hint := ""
	switch {
	case strings.HasPrefix(text, "WRONGPASS"), strings.Contains(text, "invalid password"):
		hint = ": correct the user and the password in the URL"
	case strings.HasPrefix(text, "NOAUTH"):
		hint = ": put the user and the password into the URL"
	case strings.Contains(text, "NOPERM"), strings.Contains(text, "can't run this command"), strings.Contains(text, "ACL failure"):
		hint = ": the user's ACL lacks a rule that the fleet needs"
	case strings.HasPrefix(text, "OOM"):
		hint = ": give the server more memory, or evict less important keys"
	}
	clean := text
	for _, secret := range e.secrets {
		clean = strings.ReplaceAll(clean, secret, "***")
	}
	if clean != text {
		return errors.New(clean + hint) // and not the error itself, which shows a password
	}
	if hint != "" {
		return fmt.Errorf("%w%s", err, hint)
	}
	return err
}

func isForeign(err error) bool { return err != nil && strings.Contains(err.Error(), "WRONGTYPE") }

// foreign names the keys that have another type than the engine gives them.
func (e *engine) foreign(keys []string, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	kinds, _ := e.client.Do(ctx, e.client.B().Smembers().Key(e.prefix+"kinds").Build()).AsStrSlice()
	nodes, _ := e.client.Do(ctx, e.client.B().Zrange().Key(e.prefix+"nodes").Min("0").Max("-1").Build()).AsStrSlice()
	for _, node := range nodes {
		keys = append(keys, e.prefix+"node:"+node)
	}
	for _, kind := range kinds {
		keys = append(keys, e.prefix+"records:"+kind)
	}
	var wrong []string
	for _, key := range append(keys, e.prefix+"nodes", e.prefix+"log", e.prefix+"kinds") {
		got, err := e.client.Do(ctx, e.client.B().Type().Key(key).Build()).ToString()
		if err == nil && got != "none" && got != e.kind(key) {
			wrong = append(wrong, fmt.Sprintf("%q (a %s)", key, got))
		}
	}
	if len(wrong) == 0 {
		return err
	}
	return fmt.Errorf("what is in %s is not of the gateways: set another prefix, or delete it; %w",
		strings.Join(wrong, ", "), err)
}

// kind returns the type of a key of the engine.
func (e *engine) kind(key string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, e.prefix), ":")
	switch name {
	case "nodes":
		return "zset"
	case "log":
		return "stream"
	case "kinds":
		return "set"
	case "rate":
		return "string"
	}
	return "hash"
}

// patience bounds calls that are given no end.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, 10*time.Second)
}
