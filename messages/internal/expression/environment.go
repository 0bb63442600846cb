package expression

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/ext"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/pattern"
)

// The names of the variables.
const (
	msgText      = "msg.text"
	msgSize      = "msg.size"
	msgType      = "msg.type"
	msgJSON      = "msg.json"
	msgBinary    = "msg.binary"
	direction    = "direction"
	user         = "user"
	connectionID = "connection"
	upstream     = "upstream"
	gateway      = "gateway"
	remoteIP     = "remote_ip"
)

// standard is the environment without placeholders. Its functions take no more time and
// memory than grows with their arguments, with the exceptions that bounded knows.
var standard = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable(msgText, cel.StringType),
		cel.Variable(msgSize, cel.IntType),
		cel.Variable(msgType, cel.StringType),
		cel.Variable(msgJSON, cel.DynType),
		cel.Variable(msgBinary, cel.BytesType),
		cel.Variable(direction, cel.StringType),
		cel.Variable(user, cel.StringType),
		cel.Variable(connectionID, cel.StringType),
		cel.Variable(upstream, cel.StringType),
		cel.Variable(gateway, cel.StringType),
		cel.Variable(remoteIP, cel.StringType),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Math(),
		ext.Bindings(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
})

// environment is the standard one with variables for the placeholders.
func environment(placeholders []placeholder) (*cel.Env, error) {
	env, err := standard()
	if err != nil || len(placeholders) == 0 {
		return env, err
	}
	options := make([]cel.EnvOption, 0, len(placeholders))
	for _, p := range placeholders {
		options = append(options, cel.Variable(p.variable, cel.StringType))
	}
	return env.Extend(options...)
}

// known is what an undeclared reference may have been meant to be.
const known = "msg.text, msg.size, msg.type, msg.json, msg.binary, direction, user, connection, upstream, gateway and remote_ip"

// explain is the first of the issues, with its place in the source.
func explain(source string, issues *cel.Issues) error {
	if len(issues.Errors()) == 0 {
		return issues.Err()
	}
	first := issues.Errors()[0]
	place := fmt.Sprintf("column %d", max(1, first.Location.Column()+1))
	if strings.Contains(source, "\n") {
		place = fmt.Sprintf("line %d, %s", first.Location.Line(), place)
	}
	message := strings.ReplaceAll(first.Message, " (in container '')", "")
	if strings.HasPrefix(message, "undeclared reference") {
		message += ": there are " + known
	}
	return fmt.Errorf("%s of the expression: %s", place, message)
}

// findings are what there is in an expression.
type findings struct {
	loops        bool
	needsPayload bool
	variables    bool // whether there are any, or placeholders
}

// look looks at a checked expression, and refuses what is not bounded, and placeholders
// that have not become variables.
func look(checked *cel.Ast, placeholders []placeholder) (findings, error) {
	var found findings
	var errs []error
	used := make(map[string]bool)
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			found.loops = true
		case ast.IdentKind:
			used[e.AsIdent()] = true
		case ast.CallKind:
			if err := bounded(e.AsCall()); err != nil {
				errs = append(errs, err)
			}
		default:
		}
	}))
	for _, p := range placeholders {
		if !used[p.variable] {
			errs = append(errs, fmt.Errorf("the placeholder {%s} stands in quotes: write it without, as in {%s} == \"…\"", p.name, p.name))
		}
		found.needsPayload = found.needsPayload || p.name == msgText || p.name == msgSize
	}
	for _, name := range []string{msgText, msgSize, msgJSON, msgBinary} {
		found.needsPayload = found.needsPayload || used[name]
	}
	found.variables = len(placeholders) > 0 || found.needsPayload || used[msgType]
	for _, name := range []string{direction, user, connectionID, upstream, gateway, remoteIP} {
		found.variables = found.variables || used[name]
	}
	if len(errs) > 0 {
		return found, errs[0]
	}
	return found, nil
}

// bounded refuses calls that may take as much as the product of their arguments, which
// clients choose.
func bounded(call ast.CallExpr) error {
	switch name := call.FunctionName(); name {
	case "join", "format":
		return fmt.Errorf("%s cannot be used in an expression about messages: what it makes may be far larger than the message", name)
	case "replace", "matches", "indexOf", "lastIndexOf": // the latter two look for their argument at each place anew
		args := call.Args()
		if !call.IsMemberFunction() {
			args = args[1:]
		}
		for _, arg := range args {
			if arg.Kind() != ast.LiteralKind {
				return errors.New(name + " takes literals only, which no client chooses: write its arguments in quotes")
			}
		}
		if name == "matches" {
			return matchable(args)
		}
		if name == "replace" && grows(args) {
			return errors.New("replace must not put a longer text in the place of a shorter one: what it makes may be far larger than the message")
		}
	}
	return nil
}

// matchable refuses regular expressions, literals, that take too long.
func matchable(args []ast.Expr) error {
	for _, arg := range args {
		if expression, isText := arg.AsLiteral().Value().(string); isText {
			if err := pattern.Check(expression); err != nil {
				return fmt.Errorf("matches: %w", err)
			}
		}
	}
	return nil
}

// grows reports whether a replacement, of literals, is longer than what it replaces.
func grows(args []ast.Expr) bool {
	if len(args) < 2 {
		return false
	}
	from, isText := args[0].AsLiteral().Value().(string)
	to, isTextToo := args[1].AsLiteral().Value().(string)
	return isText && isTextToo && len(to) > len(from)
}
