//go:build !linux

package relay

// untakenAndRoom fails: systems differ in how to ask, and some cannot say.
func untakenAndRoom(uintptr) (bytes int32, takes, ok bool) { return 0, false, false }
