package redis

import (
	"context"
	"strconv"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// mostAtOnce is how many keys of a share are sent in one step: more would hold up the
// other nodes.
const mostAtOnce = 2_000

// Assert implements [fleet.Engine]. The parts of a large share come together in a key of
// their own, which takes the place of the node's at last.
func (e *engine) Assert(ctx context.Context, share *fleet.Share) error {
	ctx, cancel := patience(ctx)
	defer cancel()
	fields := make([]string, 0, 2*(len(share.Counts)+len(share.Held)))
	for key, n := range share.Counts {
		if n > 0 {
			fields = append(fields, "+"+key, strconv.Itoa(n))
		}
	}
	for key, n := range share.Held {
		if n > 0 {
			fields = append(fields, "="+key, strconv.Itoa(n))
		}
	}
	for number, last := 0, false; !last; number++ {
		size := min(len(fields), 2*mostAtOnce)
		last = size == len(fields)
		if err := e.assertPart(ctx, share, number, last, fields[:size]); err != nil {
			return err
		}
		fields = fields[size:]
	}
	return nil
}

func (e *engine) assertPart(ctx context.Context, share *fleet.Share, number int, last bool, fields []string) error {
	a := make(arguments, 0, 7+len(fields))
	a.text(e.prefix)
	a.text(share.Node)
	a.seq(share.Seq)
	a.number(number)
	if last {
		a.number(1)
	} else {
		a.number(0)
	}
	a.microseconds(share.Beat.Void)
	a.text(string(share.Beat.Info))
	a = append(a, fields...)
	_, err := call(ctx, e, []string{e.prefix + "node:" + share.Node}, func(ctx context.Context) (struct{}, error) {
		message, err := e.scripts.assert.Exec(ctx, e.client, []string{e.prefix + "nodes"}, a).ToMessage()
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, refusal(message)
	})
	return err
}

// Leave implements [fleet.Engine].
func (e *engine) Leave(ctx context.Context, node string) error {
	ctx, cancel := patience(ctx)
	defer cancel()
	_, err := call(ctx, e, nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, e.scripts.leave.Exec(ctx, e.client, []string{e.prefix + "nodes"}, []string{e.prefix, node}).Error()
	})
	return err
}
