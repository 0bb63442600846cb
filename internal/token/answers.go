package token

import (
	"container/list"
	"crypto/sha256"
	"time"
)

// tokenKey stands for a token in what is remembered of it.
type tokenKey = [sha256.Size]byte

// answers are the latest answers of a service about tokens. All are good for the same
// while, so that the oldest is also the next to lapse: making room takes the same time
// for any number of answers.
type answers struct {
	ttl   time.Duration
	most  int
	byKey map[tokenKey]*list.Element
	queue list.List // of *rememberedAnswer, oldest first
}

type rememberedAnswer struct {
	key   tokenKey
	until time.Time
	grant *Grant // nil where the token is not good
	err   error
}

func newAnswers(ttl time.Duration, most int) *answers {
	return &answers{ttl: ttl, most: most, byKey: make(map[tokenKey]*list.Element)}
}

// get returns the remembered answer about a token, or nil.
func (a *answers) get(key tokenKey, now time.Time) *rememberedAnswer {
	element := a.byKey[key]
	if element == nil {
		return nil
	}
	known, ok := element.Value.(*rememberedAnswer)
	if !ok || !now.Before(known.until) {
		return nil
	}
	return known
}

// put remembers an answer, and forgets the oldest where there are too many.
func (a *answers) put(key tokenKey, g *Grant, err error, now time.Time) {
	if a.ttl <= 0 {
		return
	}
	a.forget(key)
	a.byKey[key] = a.queue.PushBack(&rememberedAnswer{key: key, until: now.Add(a.ttl), grant: g, err: err})
	for a.queue.Len() > a.most || !now.Before(a.oldest().until) {
		a.forget(a.oldest().key)
	}
}

// oldest is the first to lapse. There must be one.
func (a *answers) oldest() *rememberedAnswer {
	oldest, _ := a.queue.Front().Value.(*rememberedAnswer)
	return oldest
}

func (a *answers) forget(key tokenKey) {
	if element := a.byKey[key]; element != nil {
		a.queue.Remove(element)
		delete(a.byKey, key)
	}
}
