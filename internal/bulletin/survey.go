package bulletin

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"sync"
)

// Node is a node that is asked.
type Node struct{ ID, Name string }

const maxQuestion = 256 << 10

// question is what nodes are asked.
type question struct {
	Session string   `json:"session"` // of the Board that asks
	Number  uint64   `json:"number"`  // among those of the session
	From    string   `json:"from"`    // the node that asks
	To      []string `json:"to"`      // the nodes that are asked
	Kind    string   `json:"kind"`
	Text    []byte   `json:"text"`
}

// surveys are the questions of this node that are not answered yet.
type surveys struct {
	session string // at random: a node has another Board when its fleet is configured anew

	mu   sync.Mutex
	last uint64
	open map[uint64]*survey
}

// survey is a question that is not answered yet.
type survey struct {
	mu      sync.Mutex
	waits   map[string]*parts // by the IDs of the nodes that have not answered
	answers map[string][]byte
	over    chan struct{} // closed when all have
}

func (s *surveys) init() { s.session, s.open = rand.Text(), make(map[uint64]*survey) }

// add returns a survey among nodes, and its number.
func (s *surveys) add(nodes []string) (*survey, uint64) {
	v := &survey{waits: make(map[string]*parts), answers: make(map[string][]byte), over: make(chan struct{})}
	for _, id := range nodes {
		v.waits[id] = new(parts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.open[s.last] = v
	return v, s.last
}

func (s *surveys) drop(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, number)
}

func (s *surveys) get(number uint64) *survey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[number]
}

// ErrNoFleet is what Ask returns where nobody can be asked.
var ErrNoFleet = errors.New("the engine of the fleet does not answer: only this node was asked")

// Ask asks other nodes, until they have answered or ctx is done. It returns the answers
// by the IDs of the nodes, and the names of the nodes without one, sorted. The node itself
// is not asked. An error says why nobody was asked.
func (b *Board) Ask(ctx context.Context, kind string, text []byte, nodes []Node) (answers map[string][]byte, missing []string, err error) {
	ids := b.others(nodes)
	if len(ids) == 0 {
		return map[string][]byte{}, nil, nil
	}
	v, number := b.surveys.add(ids)
	defer b.surveys.drop(number)
	if err = b.tellQuestion(ctx, question{b.surveys.session, number, b.config.ID, ids, kind, text}); err == nil {
		select {
		case <-v.over:
		case <-ctx.Done():
		case <-b.ctx.Done():
		}
	}
	answers = v.end()
	for _, node := range nodes {
		if _, ok := answers[node.ID]; !ok && node.ID != b.config.ID {
			missing = append(missing, node.Name)
		}
	}
	slices.Sort(missing)
	return answers, missing, err
}

// others returns the IDs of the nodes but this one.
func (b *Board) others(nodes []Node) (ids []string) {
	for _, node := range nodes {
		if node.ID != b.config.ID && !slices.Contains(ids, node.ID) {
			ids = append(ids, node.ID)
		}
	}
	return ids
}

func (b *Board) tellQuestion(ctx context.Context, q question) error {
	if len(q.Text) > maxQuestion {
		return errors.New("the question is too long")
	}
	l := b.current()
	if l == nil {
		return ErrNoFleet
	}
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return l.engine.Tell(ctx, "", append([]byte{messageQuestion}, b.sealer.seal(text, "question")...))
}

// end returns the answers. What comes later is ignored.
func (v *survey) end() map[string][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = nil
	return v.answers
}

// heedAnswer takes a part of an answer.
func (b *Board) heedAnswer(data []byte) {
	opened, err := b.sealer.open(data, "answer")
	if err != nil {
		b.troubles.say(isSealedOtherwise, "answers", err)
		return
	}
	p, ok := parsePart(opened)
	if !ok || p.session != b.surveys.session {
		return
	}
	if v := b.surveys.get(p.number); v != nil {
		v.add(p)
	}
}

// add adds a part to the answer of a node that has not answered yet.
func (v *survey) add(p part) {
	v.mu.Lock()
	defer v.mu.Unlock()
	of := v.waits[p.from]
	if of == nil {
		return
	}
	answer, isWhole := of.add(p)
	if !isWhole {
		return
	}
	delete(v.waits, p.from)
	if answer != nil {
		v.answers[p.from] = answer
	}
	if len(v.waits) == 0 {
		close(v.over)
	}
}

// part is a part of an answer.
type part struct {
	number    uint64 // of the question
	at, parts int    // no parts: there is no answer
	session   string // of the question
	from      string // the node that answers
	data      []byte
}

// fixed is how much of a part comes before what is as long as it likes.
const fixed = 8 + 4*2

func (p part) append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, p.number)
	for _, n := range []int{p.at, p.parts, len(p.session), len(p.from)} {
		to = binary.BigEndian.AppendUint16(to, uint16(n))
	}
	return slices.Concat(to, []byte(p.session), []byte(p.from), p.data)
}

func parsePart(data []byte) (p part, ok bool) {
	if len(data) < fixed {
		return p, false
	}
	p.number = binary.BigEndian.Uint64(data)
	short := func(at int) int { return int(binary.BigEndian.Uint16(data[8+2*at:])) }
	p.at, p.parts = short(0), short(1)
	session, from := short(2), short(3)
	if data = data[fixed:]; session+from > len(data) || p.parts > maxParts || p.parts > 0 && p.at >= p.parts {
		return p, false
	}
	p.session, p.from, p.data = string(data[:session]), string(data[session:session+from]), data[session+from:]
	return p, true
}
