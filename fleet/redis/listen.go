package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// mostUnheard is how many messages wait at most until those before them were heard.
const mostUnheard = 1_024

// channel returns the name of the channel for a node, or for all.
func (e *engine) channel(node string) string {
	if node == "" {
		return e.prefix + "all"
	}
	return e.prefix + "to:" + node
}

// Tell implements [fleet.Engine].
func (e *engine) Tell(ctx context.Context, node string, message []byte) error {
	ctx, cancel := patience(ctx)
	defer cancel()
	_, err := call(ctx, e, nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.client.Do(ctx, e.client.B().Publish().Channel(e.channel(node)).Message(string(message)).Build()).Error()
	})
	return err
}

// Listen implements [fleet.Engine], on a connection of its own.
func (e *engine) Listen(ctx context.Context, node string, listening func(), hear func(message []byte)) error {
	dedicated, err := call(ctx, e, nil, func(ctx context.Context) (*ear, error) {
		return e.subscribe(ctx, node)
	})
	if err != nil {
		return err
	}
	defer dedicated.leave()
	listening()
	for {
		select {
		case message := <-dedicated.messages:
			hear(message)
		case <-dedicated.full:
			return errors.New("messages come faster than they are heard")
		case err := <-dedicated.lost:
			if err == nil {
				err = errors.New("the connection was closed")
			}
			return e.explain(err)
		case <-e.done:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ear is a connection that messages come from.
type ear struct {
	messages chan []byte
	full     chan struct{}
	lost     <-chan error
	close    func()
	stop     func() bool // has the end of the context close it no more
}

// leave closes the connection in a goroutine: it says good-bye, and the server may not
// answer. Nothing of it is left to a context that lasts.
func (l *ear) leave() {
	l.stop()
	go l.close()
}

// subscribe returns once no message is missed any more.
func (e *engine) subscribe(ctx context.Context, node string) (*ear, error) {
	client, release := e.client.Dedicate()
	var once, overflow sync.Once
	l := &ear{
		messages: make(chan []byte, mostUnheard),
		full:     make(chan struct{}),
	}
	l.close = func() {
		defer panics.Contain() // the connection is given up in any case
		once.Do(func() {
			defer release()
			client.Close()
		})
	}
	l.stop = context.AfterFunc(ctx, l.close) // also where the call was given up meanwhile
	subscribed := make(chan struct{}, 2)
	l.lost = client.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(message rueidis.PubSubMessage) {
			select {
			case l.messages <- []byte(message.Message):
			default:
				overflow.Do(func() { close(l.full) })
			}
		},
		OnSubscription: func(rueidis.PubSubSubscription) {
			select {
			case subscribed <- struct{}{}:
			default:
			}
		},
	})
	err := client.Do(ctx, client.B().Subscribe().Channel(e.channel(""), e.channel(node)).Build()).Error()
	for range 2 {
		if err != nil {
			break
		}
		select {
		case <-subscribed:
		case err = <-l.lost:
			if err == nil {
				err = errClosed
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		l.stop()
		l.close()
		return nil, err
	}
	return l, nil
}
