package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// listedRevocation is a revocation as the admin endpoint lists it.
type listedRevocation struct {
	ID           string `json:"id"`
	JTI          string `json:"jti"`
	User         string `json:"user"`
	Gateway      string `json:"gateway"`
	IssuedBefore string `json:"issued_before"`
	Created      string `json:"created"`
	Until        string `json:"until"`
	Code         int    `json:"code"`
	Reason       string `json:"reason"`
}

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke (--jti <id> | --user <id>) [flags]",
		Short: "Ends what a token or a user has open, and refuses it from then on",
		Long: `Ends the connections that stand on a token, or on any token of a user, and
refuses what was revoked from then on.

A revocation by --user is about the tokens that were issued until now, or until
--issued-before: the user can come back with a new one. It lasts for 30 days
unless --until or --for says otherwise; one of a token that has connections lasts
as long as that token is good.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway revoke --user alice
  $ caddy ws-gateway revoke --jti 7f9c2ba4 --for 24h --reason "stolen laptop"
  $ caddy ws-gateway revoke --user alice --issued-before 2026-05-04T12:00:00Z --gateway chat`,
		DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.String("jti", "", "The token with this ID")
	flags.String("user", "", "The tokens of this user")
	flags.String("issued-before", "", "With --user: those issued by then, as RFC 3339 has times, or now (the default)")
	flags.String("gateway", "", "At this gateway alone")
	flags.String("until", "", "When it ends, as RFC 3339 has times")
	flags.String("for", "", "How long it lasts, such as 24h or 7d")
	flags.Int("code", 0, "Close code for the connections (default 3000)")
	flags.String("reason", "", "Reason for the close frames and the list")
	cmd.AddCommand(revokeListCommand(), revokeDeleteCommand())
	return prepare(cmd, runRevoke)
}

func runRevoke(cmd *cobra.Command) error {
	wanted, err := wantedRevocation(cmd)
	if err != nil {
		return err
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	var made struct {
		ID    string `json:"id"`
		Ended int    `json:"ended"`
		Until string `json:"until"`
	}
	document, err := endpoint.post(cmd.Context(), revocationsPath, wanted, &made)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		printJSON(cmd, document)
		return nil
	}
	if made.Until == "" {
		made.Until = endOfRevocation(cmd.Context(), endpoint, made.ID, wanted)
	}
	printMembers(cmd, [][2]string{
		{"revocation", made.ID},
		{"ended", counted(made.Ended, "connection")},
		{"until", made.Until},
	})
	return nil
}

// wantedRevocation makes the members of a revocation from the flags that were given.
func wantedRevocation(cmd *cobra.Command) (map[string]any, error) {
	flags := cmd.Flags()
	for _, pair := range [][2]string{{"jti", "user"}, {"jti", "issued-before"}, {"until", "for"}} {
		if flags.Changed(pair[0]) && flags.Changed(pair[1]) {
			return nil, usageError(cmd, "--%s and --%s exclude each other", pair[0], pair[1])
		}
	}
	if !flags.Changed("jti") && !flags.Changed("user") {
		return nil, usageError(cmd, "say what to revoke, with --jti or --user")
	}
	wanted := make(map[string]any)
	for _, name := range []string{"jti", "user", "issued-before", "gateway", "until", "for", "reason"} {
		if !flags.Changed(name) {
			continue
		}
		text, err := flags.GetString(name)
		if err != nil {
			return nil, err
		}
		if err := checkRevocationFlag(name, text); err != nil {
			return nil, usageError(cmd, "--%s: %w", name, err)
		}
		wanted[strings.ReplaceAll(name, "-", "_")] = text
	}
	if wanted["issued_before"] == "now" {
		delete(wanted, "issued_before") // by the clock of the node, not by that of this machine
	}
	if flags.Changed("code") {
		code, err := flags.GetInt("code")
		if err != nil {
			return nil, err
		}
		wanted["code"] = code
	}
	return wanted, nil
}

// checkRevocationFlag finds what is wrong with the text of a flag without asking the
// admin endpoint. An empty one is mostly a variable of a script that is not set.
func checkRevocationFlag(name, text string) error {
	switch name {
	case "reason":
		return nil
	case "issued-before", "until":
		if name == "issued-before" && text == "now" {
			return nil
		}
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("%q is no time as RFC 3339 has them, such as 2026-05-04T12:00:00Z", text)
		}
	case "for":
		return checkDuration(text, false)
	default:
		if text == "" {
			return errors.New("it must not be empty")
		}
	}
	return nil
}

// endOfRevocation asks when a revocation ends, which the answer to it need not say.
// That it stands is known: a failure to ask is none of the command.
func endOfRevocation(ctx context.Context, endpoint *adminEndpoint, id string, wanted map[string]any) string {
	query := make(url.Values)
	for _, name := range []string{"jti", "user"} {
		if text, ok := wanted[name].(string); ok {
			query.Set(name, text)
		}
	}
	revocations, _, err := fetchRevocations(ctx, endpoint, query)
	if err != nil {
		return ""
	}
	for _, revocation := range revocations {
		if revocation.ID == id {
			return revocation.Until
		}
	}
	return ""
}

func revokeListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "Lists the revocations",
		Long: `Lists the revocations that are in force.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway revoke list
  $ caddy ws-gateway revoke list --user alice
  $ caddy ws-gateway revoke list --json | jq -r '.[].id'`,
		DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.String("jti", "", "Those of the token with this ID")
	flags.String("user", "", "Those of this user")
	flags.String("gateway", "", "Those for this gateway")
	return prepare(cmd, runRevokeList)
}

func runRevokeList(cmd *cobra.Command) error {
	query := make(url.Values)
	for _, name := range []string{"jti", "user", "gateway"} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		text, err := cmd.Flags().GetString(name)
		if err != nil {
			return err
		}
		if text == "" {
			return usageError(cmd, "--%s: it must not be empty", name)
		}
		query.Set(name, text)
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	revocations, documents, err := fetchRevocations(cmd.Context(), endpoint, query)
	switch {
	case err != nil:
		return err
	case wantsJSON(cmd):
		printJSON(cmd, joinJSON(documents))
		return nil
	case len(revocations) == 0:
		cmd.PrintErrln("no revocations")
		return nil
	}
	rows := make([][]string, 0, len(revocations))
	for _, r := range revocations {
		code := ""
		if r.Code != 0 {
			code = strconv.Itoa(r.Code)
		}
		rows = append(rows, []string{r.ID, r.JTI, r.User, r.Gateway, r.IssuedBefore, r.Created, r.Until, code, r.Reason})
	}
	printTable(cmd, []column{
		{"ID", false}, {"JTI", true}, {"USER", true}, {"GATEWAY", true}, {"ISSUED BEFORE", false},
		{"CREATED", false}, {"UNTIL", false}, {"CODE", false}, {"REASON", true},
	}, rows)
	return nil
}

func fetchRevocations(ctx context.Context, endpoint *adminEndpoint, query url.Values) ([]listedRevocation, []json.RawMessage, error) {
	return fetchPages(ctx, endpoint, revocationsPath, query, func(r listedRevocation) string { return r.ID })
}

func revokeDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete <id>...",
		Short: "Deletes revocations",
		Long: `Deletes revocations, so that what they refuse is accepted again.

With several IDs, those that can be deleted are, whatever becomes of the others.
With --json, nothing is printed: there is nothing that the admin endpoint answers.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway revoke delete 5f0c9a7e
  $ caddy ws-gateway revoke list --user alice --json | jq -r '.[].id' | xargs caddy ws-gateway revoke delete`,
		DisableFlagsInUseLine: true,
	}
	return prepareWithArguments(cmd, runRevokeDelete)
}

func runRevokeDelete(cmd *cobra.Command, ids []string) error {
	if len(ids) == 0 {
		return usageError(cmd, "say which revocations to delete, by their IDs")
	}
	if slices.Contains(ids, "") {
		return usageError(cmd, "the ID of a revocation must not be empty")
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	var failures []error
	for _, id := range ids {
		_, err := endpoint.call(cmd.Context(), http.MethodDelete, revocationsPath+"/"+url.PathEscape(id), nil)
		switch {
		case err != nil && exitStatusOf(err) == exitRefused:
			failures = append(failures, fmt.Errorf("revocation %q: %w", id, err))
		case err != nil:
			return errors.Join(append(failures, err)...)
		case !wantsJSON(cmd):
			fmt.Fprintln(cmd.OutOrStdout(), "deleted", cell(id))
		}
	}
	return errors.Join(failures...)
}
