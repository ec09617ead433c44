package events_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
)

// What Parse takes can be written and taken again, and means the same; what it refuses, it
// refuses with a fault.
func FuzzParse(f *testing.F) {
	full := string(encode(f, events.NewPublished(source, fullArticle())))
	f.Add(full, "")
	f.Add(string(encode(f, events.NewWithdrawn(source, smallWithdrawal()))), "application/cloudevents+json")
	f.Add(`{"site":"a","id":"1","version":1,"url":"http://a","title":"x","body":"","published":"2026-01-01T00:00:00Z"}`, "application/json")
	f.Add(strings.Replace(full, `"version":7`, `"version":7e0`, 1), "")
	f.Add(strings.Replace(full, "2026-12-01T09:00:00+07:00", "2026-12-01T09:00:00.123456789012+07:00", 1), "")
	f.Add(strings.Replace(full, "2026-1142", "\u0958\u0338a\u0301", 2), "")
	f.Add(`{"data":{"images":[{"data":0}],"id":[]},"type":"loa.article.published.v1"}`, "text/plain;=")
	f.Add(strings.Repeat("[", 100), "")
	f.Fuzz(func(t *testing.T, data, contentType string) {
		header := map[string][]string{"Content-Type": {contentType}}
		if contentType == "application/json" { // binary mode
			header["ce-id"], header["ce-source"], header["ce-type"], header["ce-specversion"] =
				[]string{"1"}, []string{"/cms"}, []string{events.TypePublished}, []string{"1.0"}
		}
		e, err := events.Parse(header, []byte(data))
		if err != nil {
			var bad *events.InvalidError
			if !errors.As(err, &bad) || len(bad.Faults) == 0 || len(bad.Faults) > events.MaxFaults || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		encoded, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := events.Parse(nil, encoded)
		if err != nil {
			t.Fatalf("taken, but not again: %v\n%s", err, encoded)
		}
		if again.Digest != e.Digest || again.ID != e.ID || again.Version() != e.Version() {
			t.Fatalf("digest %s, then %s\n%s", e.Digest, again.Digest, encoded)
		}
		if site, token := e.Site(), events.Token(e.ArticleID()); events.Token(site) != site || strings.ContainsAny(token, ".*> /\\\r\n") || len(token) > 64 {
			t.Fatalf("token %q", token)
		}
	})
}

// Only what was signed is let through.
func FuzzVerify(f *testing.F) {
	now := time.Unix(knownTime, 0)
	v := verifierAt(f, now, knownSecret)
	f.Add(knownID, "1614265330", knownSignature, knownBody)
	f.Add(knownID, "1614265330", "v1,"+knownSignature+" "+knownSignature, knownBody)
	f.Add("", "-1", "v1", "")
	f.Add("a.1614265330", "+1614265330", "v1,,", "{}")
	f.Fuzz(func(t *testing.T, id, timestamp, signature, body string) {
		header := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		if v.Verify(header, []byte(body)) != nil {
			return
		}
		if id != knownID || body != knownBody || !strings.Contains(signature, knownSignature) {
			t.Fatalf("forged: %q %q %q %q", id, timestamp, signature, body)
		}
	})
}
