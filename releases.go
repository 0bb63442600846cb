package wsgateway

import (
	"errors"
	"slices"
)

// releases give back what Provision took, also where it failed on the way.
type releases []func() error

// add has release called by giveBack.
func (r *releases) add(release func()) {
	*r = append(*r, func() error { release(); return nil })
}

// addFailing is add for a release that may fail.
func (r *releases) addFailing(release func() error) { *r = append(*r, release) }

// giveBack calls the releases, the latest first, each of them once.
func (r *releases) giveBack() error {
	taken := *r
	*r = nil
	var err error
	for _, release := range slices.Backward(taken) {
		err = errors.Join(err, release())
	}
	return err
}
