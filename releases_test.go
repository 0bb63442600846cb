package wsgateway

import (
	"errors"
	"fmt"
	"testing"
)

func TestReleasesGiveBackOnceTheLatestFirst(t *testing.T) {
	t.Parallel()
	var taken releases
	var given []int
	failed := errors.New("no")
	taken.add(func() { given = append(given, 1) })
	taken.addFailing(func() error { given = append(given, 2); return failed })
	taken.add(func() { given = append(given, 3) })
	if err := taken.giveBack(); !errors.Is(err, failed) {
		t.Errorf("came to %v, want what failed", err)
	}
	if err := taken.giveBack(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if got := fmt.Sprint(given); got != "[3 2 1]" {
		t.Errorf("given back: %s", got)
	}
}
