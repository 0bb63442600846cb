package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// Codes that scripts return.
const (
	codeLost  = 0
	codeStale = 1
)

// Exchange implements [fleet.Engine].
func (e *engine) Exchange(ctx context.Context, batch *fleet.Batch) (*fleet.Answer, error) {
	args := e.batchArgs(batch)
	keys := make([]string, 0, 1+len(batch.Knocks))
	keys = append(keys, e.prefix+"node:"+batch.Node)
	for _, knock := range batch.Knocks {
		keys = append(keys, e.prefix+"rate:"+knock.Key)
	}
	return call(ctx, e, keys, func(ctx context.Context) (*fleet.Answer, error) {
		message, err := e.scripts.exchange.Exec(ctx, e.client, []string{e.prefix + "nodes"}, args).ToMessage()
		if err != nil {
			return nil, err
		}
		if message.IsInt64() {
			return nil, cmp.Or(refusal(message), errAnswer)
		}
		answer, err := readAnswer(message)
		if err == nil && batch.Beat != nil && answer.Position == "" {
			answer.Position = batch.Beat.After
		}
		return answer, err
	})
}

// refusal is the error of a code.
func refusal(message rueidis.RedisMessage) error {
	code, err := message.AsInt64()
	switch {
	case err != nil:
		return err
	case code == codeLost:
		return fleet.ErrLost
	case code == codeStale:
		return errStale
	}
	return nil
}

// arguments are those of a script.
type arguments []string

func (a *arguments) text(text string) { *a = append(*a, text) }

func (a *arguments) number(n int) { *a = append(*a, strconv.Itoa(n)) }

// seq adds a number that scripts compare as text: they have 53 bits for numbers.
func (a *arguments) seq(seq uint64) { *a = append(*a, fmt.Sprintf("%020d", seq)) }

// microseconds adds a duration, rounded up.
func (a *arguments) microseconds(d time.Duration) {
	a.text(strconv.FormatInt(int64((d+time.Microsecond-1)/time.Microsecond), 10))
}

func (e *engine) batchArgs(batch *fleet.Batch) []string {
	a := make(arguments, 0, 9+2*len(batch.Sets)+5*len(batch.Slices)+8*len(batch.Claims)+3*len(batch.Knocks))
	a.text(e.prefix)
	a.text(batch.Node)
	a.seq(batch.Seq)
	a.seq(batch.Last)
	a.number(len(batch.Sets))
	for _, set := range batch.Sets {
		a.text(set.Key)
		a.number(set.Count)
	}
	a.number(len(batch.Slices))
	for _, slice := range batch.Slices {
		a.text(slice.Key)
		a.number(slice.Cap)
		a.number(slice.Live)
		a.number(slice.Need)
		a.number(slice.Spare)
	}
	a.number(len(batch.Claims))
	for _, claim := range batch.Claims {
		a.number(len(claim.Keys))
		for _, key := range claim.Keys {
			a.text(key.Key)
			a.number(key.Cap)
		}
	}
	a.number(len(batch.Knocks))
	for _, knock := range batch.Knocks {
		a.text(knock.Key)
		a.microseconds(knock.Every)
		a.number(knock.Burst)
	}
	if batch.Beat == nil {
		a.number(0)
		return a
	}
	a.number(1)
	a.microseconds(batch.Beat.Void)
	a.text(string(batch.Beat.Info))
	a.text(batch.Beat.After)
	return a
}

// errAnswer is the error about an answer that no script of the engine gives.
var errAnswer = errors.New("the server's answer is not one of the engine's scripts")

func readAnswer(message rueidis.RedisMessage) (*fleet.Answer, error) {
	parts, err := message.ToArray()
	if err != nil || len(parts) != 6 {
		return nil, errors.Join(errAnswer, err)
	}
	answer := new(fleet.Answer)
	sliced, err1 := parts[0].AsIntSlice()
	for pair := range slices.Chunk(sliced, 2) {
		answer.Slices = append(answer.Slices, fleet.SliceAnswer{Held: int(pair[0]), Others: int(pair[1])})
	}
	claims, err2 := parts[1].ToArray()
	for i := range claims {
		numbers, err := claims[i].AsIntSlice()
		if err != nil || len(numbers) == 0 {
			return nil, errors.Join(errAnswer, err)
		}
		claim := fleet.ClaimAnswer{Refused: int(numbers[0])}
		for _, others := range numbers[1:] {
			claim.Others = append(claim.Others, int(others))
		}
		answer.Claims = append(answer.Claims, claim)
	}
	waits, err3 := parts[2].AsIntSlice()
	for _, wait := range waits {
		answer.Knocks = append(answer.Knocks, time.Duration(wait)*time.Microsecond)
	}
	nodes, err4 := parts[3].AsStrSlice()
	for node := range slices.Chunk(nodes, 3) {
		seen, err := strconv.ParseInt(node[1], 10, 64)
		if err != nil {
			return nil, errors.Join(errAnswer, err)
		}
		answer.Nodes = append(answer.Nodes, fleet.Node{ID: node[0], Seen: time.UnixMicro(seen), Info: []byte(node[2])})
	}
	slices.SortFunc(answer.Nodes, func(a, b fleet.Node) int { return cmp.Compare(a.ID, b.ID) })
	entries, err5 := parts[4].AsXRange()
	for _, entry := range entries {
		answer.Position = entry.ID
		if record, is := readRecord(entry.FieldValues); is {
			answer.Records = append(answer.Records, record)
		}
	}
	gap, err6 := parts[5].AsInt64()
	answer.Gap = gap != 0
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return nil, errors.Join(errAnswer, err)
	}
	return answer, nil
}

// readRecord reads an entry of the log; false where the entry is there for its position
// only.
func readRecord(fields map[string]string) (fleet.Record, bool) {
	kind, is := fields["k"]
	record := fleet.Record{Kind: kind, ID: fields["i"]}
	if data, kept := fields["d"]; kept {
		record.Data = []byte(data)
	}
	return record, is
}
