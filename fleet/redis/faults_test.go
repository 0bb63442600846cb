package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// acl is what the user of a fleet with the prefix p has to be allowed.
var acl = []string{
	"resetkeys", "~{p}:*", "resetchannels", "&{p}:*", "-@all",
	"+evalsha", "+eval", "+info", "+cluster|slots", "+cluster|shards", "+ping", "+publish", "+subscribe",
	"+time", "+type", "+del", "+get", "+set", "+pexpire", "+pexpireat", "+rename",
	"+hget", "+hset", "+hdel", "+hmget", "+hincrby", "+hscan",
	"+zadd", "+zrem", "+zscore", "+zrange", "+zrangebyscore", "+zremrangebyscore",
	"+sadd", "+smembers", "+xadd", "+xrange", "+xrevrange",
}

func share(seq uint64) *fleet.Share {
	return &fleet.Share{Node: "a", Seq: seq, Beat: fleet.Beat{Void: time.Hour}}
}

// assertShare asserts an empty share.
func assertShare(t *testing.T, e fleet.Engine, seq uint64) {
	t.Helper()
	if err := e.Assert(testContext(t), share(seq)); err != nil {
		t.Fatal(err)
	}
}

// ask exchanges a batch until it is answered, or dropped, by the server: a connection
// that was lost is noticed by a call.
func ask(t *testing.T, e fleet.Engine, batch *fleet.Batch) error {
	t.Helper()
	ctx := testContext(t)
	for {
		_, err := e.Exchange(ctx, batch)
		if err == nil || answered(err) || ctx.Err() != nil {
			return err
		}
	}
}

// openFails returns the error of Open.
func openFails(t *testing.T, url string) string {
	t.Helper()
	e, err := open(testContext(t), options(t, url), "p", newScripts(clockLua))
	if err == nil {
		e.Close()
		t.Fatal("the engine was opened")
	}
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("the error has the password: %v", err)
	}
	return err.Error()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	protected := redistest.Start(t, "--requirepass", "richtig")
	free := redistest.Start(t)
	for name, test := range map[string]struct{ url, want string }{
		"another password":  {protected.URL("", "geheim"), "WRONGPASS"},
		"no password":       {protected.URL("", ""), "NOAUTH"},
		"unknown user":      {free.URL("nobody", "geheim"), "correct the user and the password in the URL"},
		"unknown host":      {"redis://:geheim@host.invalid", "host.invalid"},
		"nobody listens":    {"redis://:geheim@127.0.0.1:1", "127.0.0.1:1"},
		"too old":           {"redis://" + fake(t, "6.0.9"), "the server is Redis 6.0.9: use 6.2 or later"},
		"very old":          {"redis://" + fake(t, "2.8"), "the server is Redis 2.8: use 6.2 or later"},
		"of unknown age":    {"redis://" + fake(t, ""), "does not say which version"},
		"echoes everything": {"redis://:geheim@" + fake(t, "7.0.0"), "***"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := openFails(t, test.url); !strings.Contains(got, test.want) {
				t.Errorf("got %q, which does not say %q", got, test.want)
			}
		})
	}
}

// serve accepts connections for as long as the test takes.
func serve(t *testing.T, handle func(conn net.Conn)) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return listener.Addr().String()
}

// fake returns the address of a server that knows INFO only, and is of a version.
func fake(t *testing.T, version string) string {
	return serve(t, func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		for {
			command, err := readCommand(r)
			if err != nil {
				return
			}
			answer := fmt.Sprintf("-ERR unknown command `%s`, with args beginning with: %q\r\n", command[0], command[1:])
			switch strings.ToUpper(command[0]) {
			case "INFO":
				info := "# Server\r\nredis_mode:standalone\r\n"
				if version != "" {
					info += "redis_version:" + version + "\r\n"
				}
				answer = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
			case "CLUSTER":
				answer = "-ERR This instance has cluster support disabled\r\n"
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	})
}

func readCommand(r *bufio.Reader) ([]string, error) {
	var n, length int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		if _, err := fmt.Fscanf(r, "$%d\r\n", &length); err != nil {
			return nil, err
		}
		text := make([]byte, length+2)
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, err
		}
		command[i] = string(text[:length])
	}
	return command, nil
}

func TestForeignContentIsNamed(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	batch := func(seq uint64) *fleet.Batch {
		return &fleet.Batch{
			Node: "a", Seq: seq, Last: 1, Knocks: []fleet.Knock{{Key: "r", Every: time.Hour, Burst: 1}},
			Beat: &fleet.Beat{Void: time.Hour, After: "1-1"},
		}
	}
	for key, call := range map[string]func() error{
		"{p}:nodes":     func() error { return e.Assert(testContext(t), share(9)) },
		"{p}:node:a":    func() error { _, err := e.Exchange(testContext(t), batch(2)); return err },
		"{p}:rate:r":    func() error { _, err := e.Exchange(testContext(t), batch(2)); return err },
		"{p}:log":       func() error { _, err := e.Exchange(testContext(t), batch(2)); return err },
		"{p}:kinds":     func() error { _, _, _, err := e.Load(testContext(t)); return err },
		"{p}:records:k": func() error { return e.Publish(testContext(t), fleet.Record{Kind: "k", ID: "1", Data: []byte("x")}) },
	} {
		server.Do("FLUSHALL")
		assertShare(t, e, 1)
		server.Do("DEL", key)
		server.Do("LPUSH", key, "foreign")
		err := call()
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q (a list)", key)) || !strings.Contains(err.Error(), "set another prefix, or delete it") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestLateBatchIsDropped(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	assertShare(t, e, 1)
	server.Pause()
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
	defer cancel()
	late := &fleet.Batch{Node: "a", Seq: 2, Last: 1, Sets: []fleet.Set{{Key: "k", Count: 5}}}
	if _, err := e.Exchange(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the server is paused: %v", err)
	}
	server.Resume()
	assertShare(t, e, 3)
	if err := ask(t, e, late); !errors.Is(err, errStale) {
		t.Errorf("the late batch: %v", err)
	}
	if err := ask(t, e, &fleet.Batch{Node: "a", Seq: 4, Last: 3}); err != nil {
		t.Errorf("then: %v", err)
	}
	if got := server.Do("HGET", "{p}:node:a", "+k"); got != nil {
		t.Errorf("the late batch was applied: %v", got)
	}
}

func TestServerThatWasRestartedHasLostTheShare(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	assertShare(t, e, 1)
	lost := make(chan error, 1)
	listening := make(chan struct{})
	go func() { lost <- e.Listen(testContext(t), "a", func() { close(listening) }, func([]byte) {}) }()
	<-listening
	server.Kill()
	if err := <-lost; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who listens: %v", err)
	}
	if _, err := e.Exchange(testContext(t), &fleet.Batch{Node: "a", Seq: 2, Last: 1}); err == nil || answered(err) {
		t.Errorf("without a server: %v", err)
	}
	server.Restart()
	if err := ask(t, e, &fleet.Batch{Node: "a", Seq: 3, Last: 1}); !errors.Is(err, fleet.ErrLost) {
		t.Errorf("after the restart: %v", err)
	}
	assertShare(t, e, 4)
	if err := ask(t, e, &fleet.Batch{Node: "a", Seq: 5, Last: 4}); err != nil {
		t.Errorf("then: %v", err)
	}
}

func TestNetworkThatNeverAnswers(t *testing.T) {
	silent := serve(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn) // until the other side closes it
		conn.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	e, err := open(ctx, options(t, "redis://"+silent), "p", newScripts(clockLua))
	if err == nil {
		e.Close()
		t.Fatal("the engine was opened")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// proxy passes on what a server says, as far as it lets it.
type proxy struct {
	addr string
	left atomic.Int64 // bytes of answers, and then each connection is cut; negative: any number
}

func newProxy(t *testing.T, to string) *proxy {
	p := new(proxy)
	p.left.Store(-1)
	p.addr = serve(t, func(conn net.Conn) {
		defer conn.Close()
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			_, _ = io.Copy(server, conn)
			server.Close()
		}()
		one := make([]byte, 1)
		for {
			if _, err := server.Read(one); err != nil {
				return
			}
			if left := p.left.Load(); left == 0 {
				return
			} else if left > 0 {
				p.left.Add(-1)
			}
			if _, err := conn.Write(one); err != nil {
				return
			}
		}
	})
	return p
}

func TestAnswersAreCut(t *testing.T) {
	server := redistest.Start(t)
	p := newProxy(t, server.Addr)
	e := mustOpen(t, options(t, "redis://"+p.addr), "p", newScripts(clockLua))
	seq := uint64(1)
	assertShare(t, e, seq)
	for range 2 { // the script has to be known to the server
		seq++
		if err := ask(t, e, &fleet.Batch{Node: "a", Seq: seq, Last: seq - 1}); err != nil {
			t.Fatal(err)
		}
	}
	for cut := range int64(25) {
		p.left.Store(cut)
		seq++
		last := seq - 1
		batch := &fleet.Batch{Node: "a", Seq: seq, Last: last, Beat: &fleet.Beat{Void: time.Hour}}
		if answer, err := e.Exchange(testContext(t), batch); err == nil || answer != nil || answered(err) {
			t.Fatalf("cut after %d bytes: %+v, %v", cut, answer, err)
		}
		p.left.Store(-1)
		if err := ask(t, e, batch); !errors.Is(err, errStale) {
			t.Fatalf("cut after %d bytes, again: %v", cut, err)
		}
		seq++
		assertShare(t, e, seq)
	}
}

func TestUserWithTheLeastRights(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *redistest.Server{"one server": redistest.Start, "cluster": redistest.Cluster} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			server.Do(append([]string{"ACL", "SETUSER", "gateway", "on", ">geheim"}, acl...)...)
			if err := everything(t, server.URL("gateway", "geheim")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUserWithLessRights(t *testing.T) {
	// these are for a cluster of several servers, for idle connections, and for errors
	spared := []string{"+cluster|slots", "+cluster|shards", "+ping", "+type"}
	server := redistest.Start(t)
	for i, rule := range acl {
		if !strings.HasPrefix(rule, "+") || slices.Contains(spared, rule) {
			continue
		}
		server.Do("FLUSHALL")
		server.Do("SCRIPT", "FLUSH")
		server.Do(append([]string{"ACL", "SETUSER", "gateway", "on", ">geheim"}, slices.Delete(slices.Clone(acl), i, i+1)...)...)
		err := everything(t, server.URL("gateway", "geheim"))
		if err == nil || !strings.Contains(err.Error(), "the user's ACL lacks a rule") {
			t.Errorf("without %s: %v", rule, err)
		}
	}
}

// lasting is a context that counts what waits for its end.
type lasting struct {
	context.Context
	waiting atomic.Int64
}

// Value implements context.Context. It hides the context inside.
func (*lasting) Value(any) any { return nil }

// AfterFunc is what the package context calls.
func (c *lasting) AfterFunc(f func()) (stop func() bool) {
	c.waiting.Add(1)
	stopInside := context.AfterFunc(c.Context, f)
	return func() bool {
		stopped := stopInside()
		if stopped {
			c.waiting.Add(-1)
		}
		return stopped
	}
}

// TestListeningLeavesNothingToAContextThatLasts whether it was allowed or not.
func TestListeningLeavesNothingToAContextThatLasts(t *testing.T) {
	server := redistest.Start(t)
	server.Do(append([]string{"ACL", "SETUSER", "deaf", "on", ">geheim"}, slices.DeleteFunc(slices.Clone(acl), func(rule string) bool {
		return rule == "+subscribe"
	})...)...)
	ctx := &lasting{Context: testContext(t)}
	e := mustOpen(t, options(t, server.URL("deaf", "geheim")), "p", newScripts(clockLua))
	if err := e.Listen(ctx, "a", func() { t.Error("it listens") }, func([]byte) {}); err == nil || ctx.Err() != nil {
		t.Errorf("without the right to: %v", err)
	}
	e = mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	if err := e.Listen(ctx, "a", e.Close, func([]byte) {}); err == nil || ctx.Err() != nil {
		t.Errorf("until the engine is closed: %v", err)
	}
	if n := ctx.waiting.Load(); n != 0 {
		t.Errorf("%d functions still wait for the end of the context", n)
	}
}

// everything does all that an engine can, and returns the first error.
func everything(t *testing.T, url string) error {
	ctx := testContext(t)
	e, err := open(ctx, options(t, url), "p", newScripts(clockLua))
	if err != nil {
		return err
	}
	defer e.Close()
	counts := make(map[string]int)
	for i := range mostAtOnce + 1 {
		counts[fmt.Sprint(i)] = 1
	}
	large := share(1)
	large.Counts = counts
	listening, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- e.Listen(ctx, "a", func() { close(listening) }, func([]byte) {})
	}()
	select {
	case <-listening:
	case err := <-ended:
		return err
	}
	_, position, _, err := e.Load(ctx)
	errs := []error{err, e.Assert(ctx, large), e.Assert(ctx, share(1))}
	if !errors.Is(errs[2], errStale) {
		return errors.Join(errs...)
	}
	errs[2] = e.Publish(ctx, fleet.Record{Kind: "k", ID: "1", Data: []byte("x")}, fleet.Record{Kind: "k", ID: "2"})
	_, _, _, err = e.Load(ctx)
	errs = append(errs, err, e.Tell(ctx, "a", []byte("x")), e.Tell(ctx, "", []byte("x")))
	batch := &fleet.Batch{
		Node: "a", Seq: 2, Last: 1,
		Sets:   []fleet.Set{{Key: "0", Count: 0}, {Key: "1", Count: 2}},
		Slices: []fleet.Slice{{Key: "s", Cap: 10, Need: 2}},
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "1", Cap: 9}}}},
		Knocks: []fleet.Knock{{Key: "r", Every: time.Hour, Burst: 3}},
		Beat:   &fleet.Beat{Void: time.Hour, After: position},
	}
	_, err = e.Exchange(ctx, batch)
	return errors.Join(append(errs, err, e.Leave(ctx, "a"))...)
}

func TestCloseWaitsForNobody(t *testing.T) {
	server := redistest.Start(t)
	e := mustOpen(t, options(t, server.URL("", "")), "p", newScripts(clockLua))
	assertShare(t, e, 1)
	server.Pause()
	defer server.Resume()
	ended := make(chan error, 1)
	go func() {
		_, err := e.Exchange(testContext(t), &fleet.Batch{Node: "a", Seq: 2, Last: 1})
		ended <- err
	}()
	e.Close()
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
