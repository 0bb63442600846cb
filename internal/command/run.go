package command

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// Exit statuses of the commands.
const (
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130
)

// exitStatusHelp stands in the help of every command.
const exitStatusHelp = `
Exit status:
  0    done
  1    refused by the admin endpoint or at a question, or not done in time
  2    wrong usage; nothing was sent
  3    the admin endpoint cannot be reached
  130  interrupted`

// commandError is why a command failed, and the exit status that says so.
type commandError struct {
	status int
	err    error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

func commandFailure(status int, format string, args ...any) error {
	return &commandError{status, fmt.Errorf(format, args...)}
}

// usageError names the command whose help says how it is used.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	return commandFailure(exitUsage, "%w; see %s --help", fmt.Errorf(format, args...), cmd.CommandPath())
}

func exitStatusOf(err error) int {
	if failure, ok := errors.AsType[*commandError](err); ok {
		return failure.status
	}
	return exitRefused
}

// prepare makes a command do what it is for. An argument is taken for a subcommand
// that does not exist.
func prepare(cmd *cobra.Command, do func(*cobra.Command) error) *cobra.Command {
	return prepareWithArguments(cmd, func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownArgument(cmd, args[0])
		}
		return do(cmd)
	})
}

// prepareGroup makes a command that only has subcommands show its help.
func prepareGroup(cmd *cobra.Command) *cobra.Command {
	return prepare(cmd, (*cobra.Command).Help)
}

// prepareWithArguments is prepare for a command that takes arguments.
func prepareWithArguments(cmd *cobra.Command, do func(*cobra.Command, []string) error) *cobra.Command {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true // endCommand says it in a line
	cmd.Args = cobra.ArbitraryArgs
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return endCommand(cmd, usageError(cmd, "%w", err))
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return endCommand(cmd, do(cmd, args))
	}
	return cmd
}

func unknownArgument(cmd *cobra.Command, arg string) error {
	if !cmd.HasAvailableSubCommands() {
		return usageError(cmd, "%s takes no argument, such as %q", cmd.Name(), arg)
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usageError(cmd, "%s has no command %q: known are %s", cmd.Name(), arg, strings.Join(names, ", "))
}

// checkDuration finds what is wrong with a duration of Caddy's.
func checkDuration(text string, mayBeZero bool) error {
	duration, err := caddy.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration, such as 90s, 24h or 7d", text)
	case duration < 0:
		return fmt.Errorf("%q is negative", text)
	case duration == 0 && !mayBeZero:
		return errors.New("it must be more than nothing")
	}
	return nil
}

// durationFlag reads a flag that is a duration of Caddy's, or zero where it is not
// given.
func durationFlag(cmd *cobra.Command, name string, mayBeZero bool) (time.Duration, error) {
	if !cmd.Flags().Changed(name) {
		return 0, nil
	}
	text := cmd.Flag(name).Value.String()
	if err := checkDuration(text, mayBeZero); err != nil {
		return 0, usageError(cmd, "--%s: %w", name, err)
	}
	return caddy.ParseDuration(text)
}

// endCommand says in a line for each failure why a command failed, if it did, and returns
// what makes Caddy exit with the status of the worst.
func endCommand(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	failures := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // by errors.Join
		failures = joined.Unwrap()
	}
	status := exitRefused
	for _, failure := range failures {
		cmd.PrintErrln("caddy ws-gateway: " + escaped(failure.Error()))
		status = max(status, exitStatusOf(failure))
	}
	if status == exitRefused {
		return err // Caddy exits with 1 for any error but its own
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}
