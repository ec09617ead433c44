package events_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/loa-syndication/loa/events"
)

func asyncAPI(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.UnmarshalWithOptions(data, &doc, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// follow goes from doc along a JSON pointer.
func follow(doc any, pointer string) (any, bool) {
	for token := range strings.SplitSeq(strings.Trim(pointer, "/"), "/") {
		if token == "" {
			continue
		}
		object, ok := doc.(map[string]any)
		if !ok {
			return nil, false
		}
		if doc, ok = object[token]; !ok {
			return nil, false
		}
	}
	return doc, true
}

func TestReferencesOfTheAsyncAPIResolve(t *testing.T) {
	doc := asyncAPI(t)
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("version %v", doc["asyncapi"])
	}
	refs := 0
	var visit func(node any)
	visit = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				visit(child)
			}
		case map[string]any:
			for _, child := range node {
				visit(child)
			}
			ref, ok := node["$ref"].(string)
			if !ok {
				return
			}
			refs++
			file, pointer, _ := strings.Cut(ref, "#")
			var target any = doc
			if file != "" {
				data, err := fs.ReadFile(events.Schemas(), strings.TrimPrefix(file, "schema/"))
				if err != nil {
					t.Error(err)
					return
				}
				if err := json.Unmarshal(data, &target); err != nil {
					t.Error(err)
				}
			}
			if _, ok := follow(target, pointer); !ok {
				t.Errorf("%s leads nowhere", ref)
			}
		}
	}
	visit(doc)
	if refs < 30 {
		t.Errorf("only %d references were seen", refs)
	}
}

func TestExamplesOfTheAsyncAPIAreValid(t *testing.T) {
	messages, _ := follow(asyncAPI(t), "/components/messages")
	taken := make(map[string]int)
	for name, message := range messages.(map[string]any) {
		examples, _ := message.(map[string]any)["examples"].([]any)
		if len(examples) == 0 {
			t.Errorf("message %s has no example", name)
		}
		for _, example := range examples {
			example := example.(map[string]any)
			payload, err := json.Marshal(example["payload"])
			if err != nil {
				t.Fatal(err)
			}
			header := make(map[string][]string)
			if headers, ok := example["headers"].(map[string]any); ok {
				for key, value := range headers {
					header[key] = []string{value.(string)}
				}
			}
			switch name {
			case "ack", "atom", "atomDeleted": // XML is read where it is written
			case "postedStored", "postedProblem": // the inbox's tests know them
			case "posted", "postedBatch":
				payload = bytes.Trim(payload, "[]")
				if _, err := events.Parse(nil, payload); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case "ninjs":
				doc, _ := follow(example, "/payload")
				if err := compiler(t).MustCompile(schemaBase + events.NinjsSchema).Validate(jsonOf(t, doc)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case "digest":
				if _, err := events.ParseDigest(payload); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				doc, _ := follow(example, "/payload")
				if err := compiler(t).MustCompile(schemaBase + events.DigestSchema).Validate(jsonOf(t, doc)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case "manifest", "holdings":
				schema := map[string]string{"manifest": events.ManifestSchema, "holdings": events.HoldingsSchema}[name]
				doc, _ := follow(example, "/payload")
				if err := compiler(t).MustCompile(schemaBase + schema).Validate(jsonOf(t, doc)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case "bulletin":
				if _, err := events.ParseBulletin(payload); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				doc, _ := follow(example, "/payload")
				if err := compiler(t).MustCompile(schemaBase + events.BulletinSchema).Validate(jsonOf(t, doc)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			default:
				e, err := events.Parse(header, payload)
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if header["Nats-Msg-Id"][0] != e.ID {
					t.Errorf("%s: Nats-Msg-Id %v, id %s", name, header["Nats-Msg-Id"], e.ID)
				}
				taken[e.Type]++
			}
		}
	}
	if taken[events.TypePublished] != 2 || taken[events.TypeWithdrawn] != 2 {
		t.Errorf("examples of events: %v", taken)
	}
}

// jsonOf turns what YAML gave into what JSON would have.
func jsonOf(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The README shows an event as people type it.
func TestExampleOfTheReadmeIsValid(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok1 := strings.Cut(string(readme), `"Nats-Msg-Id: cms-1142-1" '`)
	body, _, ok2 := strings.Cut(rest, "'\n```")
	if !ok1 || !ok2 {
		t.Fatal("the README has no such example")
	}
	e, err := events.Parse(nil, []byte(body))
	if err != nil || e.ID != "cms-1142-1" || !strings.Contains(string(readme), events.Subject(e.Site(), e.ArticleID())+" -H") {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestExampleOfHTTPInTheReadmeIsValid(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "/v1/events \\")
	_, rest, ok1 := strings.Cut(rest, "--data '")
	body, _, ok2 := strings.Cut(rest, "'\n```")
	if !ok1 || !ok2 {
		t.Fatal("the README has no such example")
	}
	if _, err := events.Parse(map[string][]string{"Content-Type": {"application/cloudevents+json"}}, []byte(body)); err != nil {
		t.Error(err)
	}
}

func TestAsyncAPINamesTheSubject(t *testing.T) {
	address, _ := follow(asyncAPI(t), "/channels/events/address")
	replaced := strings.NewReplacer("{site}", events.Token("phuong-hoa-mai"), "{article}", events.Token("a.b.>")).Replace(address.(string))
	if want := events.Subject("phuong-hoa-mai", "a.b.>"); replaced != want {
		t.Errorf("%s, the publisher uses %s", replaced, want)
	}
	articles, _ := follow(asyncAPI(t), "/channels/events/parameters/article/examples")
	hashed := events.Token("tin-tuc/lich-tiem-chung")
	if example := articles.([]any)[1]; example != hashed {
		t.Errorf("the example is %v, the token %s", example, hashed)
	}
}
