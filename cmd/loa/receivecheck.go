package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/conformance"
)

// check tries somebody's receiver.
func (c *receiveCmd) check(e *env) error {
	if c.SecretFile == "" {
		return errors.New("--check needs --secret-file, with the secret that the receiver has")
	}
	secret, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return err
	}
	o := conformance.Options{
		URL: c.Check, Secret: strings.TrimSpace(string(secret)), State: c.State, Version: version(),
		Form: map[string]bulletin.Form{"full": bulletin.Full, "ninjs": bulletin.Ninjs, "atom": bulletin.Atom}[c.Format],
	}
	if !c.JSON {
		o.Progress = func(r conformance.Result) { e.checked(r) }
	}
	report, err := conformance.Run(e.ctx, o)
	if err != nil {
		return err
	}
	musts, shoulds := report.Count(conformance.Must, conformance.Failed), report.Count(conformance.Should, conformance.Failed)
	if c.JSON {
		if err := e.json(report); err != nil {
			return err
		}
	} else {
		e.printf("\n%d checks, the slowest answer after %d ms: %s.\n", len(report.Results), report.SlowestMS, verdict(musts, shoulds))
		if c.State == "" {
			e.printf("Only answers were looked at; --state has Loa look at what is held, too.\n")
		}
	}
	if musts > 0 {
		return errSaid
	}
	return nil
}

// checked prints one result.
func (e *env) checked(r conformance.Result) {
	outcome := map[string]string{conformance.Passed: "ok", conformance.Failed: "FAILED", conformance.Skipped: "skipped"}[r.Outcome]
	e.printf("%-7s  %-6s  %-22s  %s\n", outcome, r.Level, r.Check, r.Title)
	if r.Outcome == conformance.Failed {
		e.printf("%19s%s\n%19s%s\n", "got: ", shorten(r.Got, 400), "do: ", r.Advice)
	}
}

func verdict(musts, shoulds int) string {
	if musts+shoulds == 0 {
		return "nothing is wrong"
	}
	return fmt.Sprintf("%d that MUST hold failed, and %d that SHOULD", musts, shoulds)
}
