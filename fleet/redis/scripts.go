package redis

import (
	_ "embed" // for the scripts

	"github.com/redis/rueidis"
)

var (
	//go:embed scripts/head.lua
	headLua string
	//go:embed scripts/clock.lua
	clockLua string
	//go:embed scripts/common.lua
	commonLua string
	//go:embed scripts/exchange.lua
	exchangeLua string
	//go:embed scripts/assert.lua
	assertLua string
	//go:embed scripts/publish.lua
	publishLua string
	//go:embed scripts/load.lua
	loadLua string
	//go:embed scripts/leave.lua
	leaveLua string
)

// scripts are what the engine does in one step each. Those that go by the time go by the
// server's, so that the nodes' clocks do not count.
type scripts struct {
	exchange, assert, publish, load, leave *rueidis.Lua
}

// newScripts returns the scripts, which go by a clock: Lua that sets now.
func newScripts(clock string) scripts {
	timed := func(script string) *rueidis.Lua {
		return rueidis.NewLuaScript(headLua + clock + commonLua + script)
	}
	timeless := func(script string) *rueidis.Lua {
		return rueidis.NewLuaScript(headLua + script)
	}
	return scripts{
		exchange: timed(exchangeLua), assert: timed(assertLua),
		publish: timeless(publishLua), load: timeless(loadLua), leave: timeless(leaveLua),
	}
}
