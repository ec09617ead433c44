package events_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
)

func TestOnlyStrictJSONIsRead(t *testing.T) {
	valid := string(encode(t, events.NewPublished(source, smallArticle())))
	with := func(old, new string) string {
		if !strings.Contains(valid, old) {
			t.Fatalf("no %s in %s", old, valid)
		}
		return strings.Replace(valid, old, new, 1)
	}
	tests := map[string]struct{ event, path, found string }{
		"nothing":           {"", "(event): ", "nothing"},
		"white space":       {" \n", "(event): ", "nothing"},
		"not JSON":          {"<event/>", "(event): ", "invalid character"},
		"cut off":           {valid[:len(valid)-9], "", ""},
		"text behind":       {valid + "{}", "(event): ", ""},
		"duplicate name":    {with(`"version":1`, `"version":1,"version":2`), "/data/version: ", `duplicate object member name at line 1, byte `},
		"escaped duplicate": {with(`"version":1`, `"version":1,"\u0076ersion":2`), "/data/version: ", "duplicate object member name"},
		"duplicate at top":  {with(`{"specversion":`, `{"specversion":"1.0","specversion":`), "/specversion: ", "duplicate"},
		"invalid UTF-8":     {with("Phường", "Ph\xff\xfeng"), "/data/title: ", "invalid UTF-8 at line 1, byte "},
		"lone surrogate":    {with("Phường", `Ph\ud800ng`), "/data/title: ", "surrogate"},
		"control character": {with("Phường", "Ph\x01ng"), "/data/title: ", "invalid character"},
		"huge number":       {with(`"version":1`, `"version":1e999999999`), "/data/version: ", "the number 1e999999999, out of range"},
		"tiny number":       {with(`"version":1`, `"version":1e-999999999`), "/data/version: ", "out of range"},
		"endless number":    {with(`"version":1`, `"version":1`+strings.Repeat("0", 1000)), "/data/version: ", "a number of 1001 digits"},
		"a list":            {"[" + valid + "]", "(event): ", "a list of 1 items"},
		"null":              {"null", "(event): ", "null"},
		"not a number":      {with(`"version":1`, `"version":NaN`), "/data", "invalid character"},
		"comment":           {with(`"version":1`, `/* x */ "version":1`), "/data", "invalid character"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := faultsOf(t, nil, []byte(test.event))
			if len(got) != 1 || !strings.HasPrefix(got[0], test.path) || !strings.Contains(got[0], test.found) {
				t.Errorf("got %q, want %s … %s", got, test.path, test.found)
			}
		})
	}
}

func TestLargeAndDeepEventsAreRefusedQuickly(t *testing.T) {
	valid := string(encode(t, events.NewPublished(source, smallArticle())))
	inTags := func(s string) []byte {
		return []byte(strings.Replace(valid, `"title":`, `"tags":`+s+`,"title":`, 1))
	}
	for name, test := range map[string]struct {
		event []byte
		found string
	}{
		"100,000 lists":    {inTags(strings.Repeat("[", 100_000)), "more than 32 levels"},
		"100,000 objects":  {inTags(strings.Repeat(`{"a":`, 100_000)), "more than 32 levels"},
		"deep and closed":  {inTags(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), "more than 32 levels"},
		"a million values": {inTags("[" + strings.Repeat("[],", 1_000_000) + "0]"), "more than 20000 values"},
		"a million names":  {inTags("{" + strings.Repeat(`"a":0,`, 1_000_000) + `"b":0}`), "duplicate"},
		"9 MiB":            {bytes.Repeat([]byte(" "), 9<<20), "9437184 bytes, expected at most 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := faultsOf(t, nil, test.event)
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			if len(got) != 1 || !strings.Contains(got[0], test.found) {
				t.Errorf("got %q, want %s", got, test.found)
			}
		})
	}
}

func TestLimitsOfNestingAndSizeAreExact(t *testing.T) {
	// 32 levels are read, and then refused by the schema; 33 are not read.
	valid := string(encode(t, events.NewPublished(source, smallArticle())))
	nested := func(levels int) []byte { // the event and data are two of them
		return []byte(strings.Replace(valid, `"title":`, `"tags":`+strings.Repeat("[", levels-2)+strings.Repeat("]", levels-2)+`,"title":`, 1))
	}
	if got := faultsOf(t, nil, nested(events.MaxDepth)); !strings.HasPrefix(got[0], "/data/tags/0: got a list of 1 items") {
		t.Errorf("at the limit: %q", got)
	}
	if got := faultsOf(t, nil, nested(events.MaxDepth+1)); !strings.Contains(got[0], "more than 32 levels at line 1") {
		t.Errorf("past the limit: %q", got)
	}
	full := append([]byte(valid), bytes.Repeat([]byte(" "), events.MaxEventBytes-len(valid))...)
	if _, err := events.Parse(nil, full); err != nil {
		t.Errorf("%d bytes: %v", len(full), err)
	}
}
