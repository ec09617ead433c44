package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/loa-syndication/loa/events"
)

const schemaBase = "https://test.invalid/"

// compiler reads the schemas as any other validator would, with nothing of ours added.
func compiler(t testing.TB) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	for name, doc := range schemaDocs(t) {
		if err := c.AddResource(schemaBase+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func schemaDocs(t testing.TB) map[string]any {
	t.Helper()
	files, err := fs.Glob(events.Schemas(), "*.json")
	if err != nil || len(files) != 8 {
		t.Fatal(files, err)
	}
	docs := make(map[string]any)
	for _, name := range files {
		data, err := fs.ReadFile(events.Schemas(), name)
		if err != nil {
			t.Fatal(err)
		}
		if docs[name], err = jsonschema.UnmarshalJSON(bytes.NewReader(data)); err != nil {
			t.Fatal(name, err)
		}
	}
	return docs
}

// walk calls f for every schema that describes a field, an item or a document, with the JSON
// pointer by which it is reached.
func walk(s map[string]any, at string, f func(at string, s map[string]any)) {
	f(at, s)
	if items, ok := s["items"].(map[string]any); ok {
		walk(items, at+"/items", f)
	}
	for _, group := range []string{"properties", "$defs"} {
		children, _ := s[group].(map[string]any)
		for name, child := range children {
			walk(child.(map[string]any), at+"/"+group+"/"+name, f)
		}
	}
}

func TestEveryFieldIsDescribedWithAValidExample(t *testing.T) {
	c := compiler(t)
	for file, doc := range schemaDocs(t) {
		walk(doc.(map[string]any), "", func(at string, s map[string]any) {
			if _, ok := s["$ref"]; ok {
				return // described where it points to
			}
			where := file + "#" + at
			if file == events.EventSchema && at == "" {
				return // its data is an example of another schema; asyncapi.yaml has whole ones
			}
			for _, annotation := range []string{"title", "description"} {
				if text, _ := s[annotation].(string); text == "" {
					t.Errorf("%s has no %s", where, annotation)
				}
			}
			examples, _ := s["examples"].([]any)
			if len(examples) == 0 {
				t.Errorf("%s has no examples", where)
			}
			compiled, err := c.Compile(schemaBase + where)
			if err != nil {
				t.Errorf("%s: %v", where, err)
				return
			}
			for _, example := range examples {
				if err := compiled.Validate(example); err != nil {
					t.Errorf("%s: example %v: %v", where, example, err)
				}
			}
		})
	}
}

func TestSchemasAreClosedAndBounded(t *testing.T) {
	for file, doc := range schemaDocs(t) {
		walk(doc.(map[string]any), "", func(at string, s map[string]any) {
			where := file + "#" + at
			need := func(keywords ...string) {
				for _, k := range keywords {
					if _, ok := s[k]; !ok {
						t.Errorf("%s has no %s", where, k)
					}
				}
			}
			switch s["type"] {
			case "object":
				if s["additionalProperties"] != false && !strings.HasPrefix(where, events.EventSchema) && !strings.HasSuffix(at, "/ninjs") {
					t.Errorf("%s is open", where)
				}
			case "array":
				need("items", "maxItems")
			case "string":
				if s["format"] != "date-time" {
					need("maxLength")
				}
			case "integer", "number":
				need("minimum", "maximum")
			}
			if _, ok := s["pattern"]; ok {
				need("$comment") // which is what a person reads of it
			}
		})
	}
}

// fieldsOf are the JSON fields of a Go type, nested ones as a/b, with the types of their leaves.
func fieldsOf(t reflect.Type, at string, fields map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fieldsOf(f.Type, at, fields)
			continue
		}
		fields[at+"/"+name] = true
		fieldsOf(f.Type, at+"/"+name, fields)
	}
}

func propertiesOf(s *jsonschema.Schema, at string, fields map[string]bool) {
	for s.Ref != nil {
		s = s.Ref
	}
	if s.Items2020 != nil {
		propertiesOf(s.Items2020, at, fields)
	}
	for name, child := range s.Properties {
		fields[at+"/"+name] = true
		propertiesOf(child, at+"/"+name, fields)
	}
}

func TestGoTypesAndSchemasHaveTheSameFields(t *testing.T) {
	c := compiler(t)
	for file, typ := range map[string]reflect.Type{
		events.PublishedSchema: reflect.TypeFor[events.Article](),
		events.WithdrawnSchema: reflect.TypeFor[events.Withdrawal](),
		events.BulletinSchema:  reflect.TypeFor[events.Bulletin](),
		events.DigestSchema:    reflect.TypeFor[events.Digest](),
		events.NinjsSchema:     reflect.TypeFor[events.NinjsBulletin](),
	} {
		inGo, inSchema := make(map[string]bool), make(map[string]bool)
		fieldsOf(typ, "", inGo)
		propertiesOf(c.MustCompile(schemaBase+file), "", inSchema)
		if len(inGo) == 0 {
			t.Errorf("%v has no fields", typ)
		}
		for field := range inGo {
			if !inSchema[field] {
				t.Errorf("%v has %s, %s has not", typ, field, file)
			}
		}
		for field := range inSchema {
			if !inGo[field] {
				t.Errorf("%s has %s, %v has not", file, field, typ)
			}
		}
	}
}

// A CMS that has no Go validates with the schemas alone: they must take what Parse takes, and
// refuse what they can of what it refuses.
func TestSchemasStandAlone(t *testing.T) {
	c := compiler(t)
	validate := func(file string, v any) error {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		return c.MustCompile(schemaBase + file).Validate(doc)
	}
	article := fullArticle()
	redirect := smallWithdrawal()
	redirect.Status, redirect.RedirectURL = events.WithdrawnRedirect, "https://a.vn/2"
	for file, v := range map[string]any{
		events.PublishedSchema: article,
		events.WithdrawnSchema: redirect,
		events.EventSchema:     events.NewPublished(source, article),
	} {
		if err := validate(file, v); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	article.Images[0].Data = []byte("x")
	half := fullArticle()
	half.Places[0].Longitude = nil
	lost := redirect
	lost.RedirectURL = ""
	gone := redirect
	gone.Status = events.WithdrawnGone
	for what, v := range map[string]any{"image with url and data": article, "half a place": half} {
		if validate(events.PublishedSchema, v) == nil {
			t.Errorf("%s is taken", what)
		}
	}
	for what, v := range map[string]any{"redirect to nowhere": lost, "gone with redirect": gone} {
		if validate(events.WithdrawnSchema, v) == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func TestLimitsOfTheSchemaHold(t *testing.T) {
	for field, limit := range map[string]int{"title": 500, "summary": 2000, "body": 1_000_000, "correction": 2000} {
		at := edited(t, func(_, data map[string]any) { data[field] = strings.Repeat("ệ", limit) })
		if _, err := events.Parse(nil, at); err != nil {
			t.Errorf("%s of %d characters: %v", field, limit, err)
		}
		past := edited(t, func(_, data map[string]any) { data[field] = strings.Repeat("ệ", limit+1) })
		got := faultsOf(t, nil, past)
		if want := fmt.Sprintf("%d characters", limit); len(got) != 1 || !strings.Contains(got[0], want) || len(got[0]) > 600 {
			t.Errorf("%s of %d characters: %.600q", field, limit+1, got)
		}
	}
	for list, limit := range map[string]int{"tags": 64, "categories": 32, "images": 200, "attachments": 50, "authors": 50, "places": 50} {
		past := edited(t, func(_, data map[string]any) {
			one := data[list].([]any)[:1]
			data[list] = slices.Repeat(one, limit+1)
		})
		if got := faultsOf(t, nil, past); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf("at most %d items", limit)) {
			t.Errorf("%d %s: %q", limit+1, list, got)
		}
	}
}
