package wsgateway

import (
	"encoding/json"
	"net/url"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func init() {
	ours.answers = func(kind string, question []byte) []byte { return answerNode(process, kind, question) }
}

// answerNode is what this node says to another one; nothing where it does not understand
// the question, as between versions.
func answerNode(set *live.Set, kind string, question []byte) []byte {
	query, err := url.ParseQuery(string(question))
	if err != nil {
		return nil
	}
	switch kind {
	case askConnections:
		list, err := readListing(query, set.Ledger.Addresses)
		if err != nil {
			return nil
		}
		return asJSON(list.rows(set))
	case askEnd:
		id := query.Get(endedID)
		query.Del(endedID)
		which, err := readEnds(id, query, set.Ledger.Addresses)
		if err != nil {
			return nil
		}
		return asJSON(which.end(set))
	}
	return nil
}

func asJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return data
}
