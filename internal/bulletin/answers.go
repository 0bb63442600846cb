package bulletin

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// The messages of a survey, sealed after this byte.
const (
	messageQuestion = 'q'
	messageAnswer   = 'a'
)

const (
	maxAnswer   = 16 << 20
	maxPart     = 1 << 20
	maxParts    = maxAnswer/maxPart + 1 // s2 adds a little to what it cannot make smaller
	maxReplies  = 16                    // questions that are answered at the same time
	answerTime  = 10 * time.Second      // for telling an answer
	maxAskers   = 4096                  // sessions of which it is known what was asked in them
	windowWidth = 64                    // questions of a session that may come late
)

// replies are what this node has been asked.
type replies struct {
	room chan struct{}

	mu     sync.Mutex
	askers map[string]*window
	oldest []string // of askers, in the order in which they came
}

func (r *replies) init() {
	r.room = make(chan struct{}, maxReplies)
	r.askers = make(map[string]*window)
}

// window is which questions of a session have come.
type window struct {
	last uint64
	seen uint64 // bit i: the one i before the last
}

// isNew reports whether a question comes for the first time; of late ones it only knows
// whether the last few have come.
func (w *window) isNew(number uint64) bool {
	if number > w.last {
		w.seen = w.seen<<(number-w.last) | 1 // 0 by more than 63
		w.last = number
		return true
	}
	back := w.last - number
	if back >= windowWidth || w.seen>>back&1 != 0 {
		return false
	}
	w.seen |= 1 << back
	return true
}

// isNew reports whether that is asked for the first time in a session.
func (r *replies) isNew(session string, number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.askers[session]
	if w == nil {
		if len(r.oldest) == maxAskers {
			delete(r.askers, r.oldest[0])
			r.oldest = r.oldest[1:]
		}
		w = new(window)
		r.askers[session] = w
		r.oldest = append(r.oldest, session)
	}
	return w.isNew(number)
}

// heedQuestion answers a question to this node, unless it is a replay or there are too
// many.
func (b *Board) heedQuestion(l *link, data []byte) {
	text, err := b.sealer.open(data, "question")
	if err != nil {
		b.troubles.say(isSealedOtherwise, "questions", err)
		return
	}
	var q question
	if json.Unmarshal(text, &q) != nil || q.From == b.config.ID || !slices.Contains(q.To, b.config.ID) || !b.replies.isNew(q.Session, q.Number) {
		return
	}
	select {
	case b.replies.room <- struct{}{}:
		go b.reply(l, q)
	default:
	}
}

// reply tells the node that has asked what this node says.
func (b *Board) reply(l *link, q question) {
	defer panics.Contain()
	defer func() { <-b.replies.room }()
	answer, err := b.answer(q)
	if err != nil {
		answer = nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, answerTime)
	defer cancel()
	for p := range partsOf(answer, part{number: q.Number, session: q.Session, from: b.config.ID}) {
		message := append([]byte{messageAnswer}, b.sealer.seal(p.append(nil), "answer")...)
		if l.engine.Tell(ctx, q.From, message) != nil {
			return // the node misses it then
		}
	}
}

var errLong = errors.New("the answer is too long")

func (b *Board) answer(q question) (answer []byte, err error) {
	defer panics.ContainInto(&err, nil)
	if b.config.Answer == nil {
		return nil, nil
	}
	if answer = b.config.Answer(q.Kind, q.Text); len(answer) > maxAnswer {
		return nil, errLong
	}
	return answer, nil
}

// partsOf yields the parts of an answer, which are like p. Where there is none, the one
// part says so.
func partsOf(answer []byte, p part) iter.Seq[part] {
	return func(yield func(part) bool) {
		if answer == nil {
			yield(p)
			return
		}
		packed := s2.Encode(nil, answer)
		n := (len(packed) + maxPart - 1) / maxPart
		for i := range n {
			p.at, p.parts, p.data = i, n, packed[i*maxPart:min(len(packed), (i+1)*maxPart)]
			if !yield(p) {
				return
			}
		}
	}
}

// parts are what has come of an answer.
type parts struct {
	came int
	data [][]byte
}

// add adds a part. When that was the last one, it returns the answer, or nil where there
// is none that can be read.
func (s *parts) add(p part) (answer []byte, isWhole bool) {
	switch {
	case p.parts == 0:
		return nil, true
	case s.data == nil:
		s.data = make([][]byte, p.parts)
	case len(s.data) != p.parts:
		return nil, false
	}
	if s.data[p.at] == nil {
		s.data[p.at] = p.data
		s.came++
	}
	if s.came < p.parts {
		return nil, false
	}
	packed := slices.Concat(s.data...)
	if n, err := s2.DecodedLen(packed); err != nil || n > maxAnswer {
		return nil, true
	}
	answer, err := s2.Decode(make([]byte, 0), packed)
	if err != nil {
		return nil, true
	}
	return answer, true
}
