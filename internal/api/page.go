package api

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/gateway"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

// The page's languages.
const (
	vietnamese = "vi"
	english    = "en"
)

// pages are the description of the API for people, by language. They are made once, of what the
// code says of itself.
type pages map[string][]byte

// pageView is what page.html shows.
type pageView struct {
	Lang, Other          string
	Base                 string
	Style                template.CSS
	T                    words
	Operations           []operationView
	Members              []nameView
	Feed, Home, SiteName string
}

type operationView struct {
	ID, Path, Summary, Description string
	Parameters                     []nameView
}

// nameView is a parameter or a member, with what it means.
type nameView struct{ Name, Kind, Text string }

func pageCSS() string { return gateway.PageStyle() + pageStyle }

func (a *API) makePages() (pages, error) {
	made := pages{}
	for lang, other := range map[string]string{vietnamese: english, english: vietnamese} {
		v := pageView{Lang: lang, Other: other, Base: a.o.PublicURL, Style: template.CSS(pageCSS()), T: wordsIn[lang], Feed: "FEED"}
		if all := a.o.Sites.All(); len(all) > 0 {
			v.Feed, v.Home, v.SiteName = all[0].ID, all[0].URL, all[0].Name
		}
		for _, path := range a.paths() {
			op := a.huma.OpenAPI().Paths[path].Get
			o := operationView{ID: op.OperationID, Path: path, Summary: op.Summary, Description: op.Description}
			if lang == vietnamese {
				said, ok := operationsInVietnamese[op.OperationID]
				if !ok {
					return nil, fmt.Errorf("describe the API: operation %s has no text in Vietnamese", op.OperationID)
				}
				o.Summary, o.Description = said[0], said[1]
			}
			for _, p := range op.Parameters {
				text, err := textIn(lang, p.Name, p.Description)
				if err != nil {
					return nil, err
				}
				o.Parameters = append(o.Parameters, nameView{p.Name, p.In + ", " + kindOf(p.Schema), text})
			}
			v.Operations = append(v.Operations, o)
		}
		if err := v.members(lang, reflect.TypeFor[article.Public]()); err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := pageTemplate.Execute(&b, v); err != nil {
			return nil, fmt.Errorf("describe the API: %w", err)
		}
		made[lang] = b.Bytes()
	}
	return made, nil
}

// paths are the operations' in the order in which people look for them: as they were registered.
func (a *API) paths() []string {
	order := []string{"/v1/articles", "/v1/articles/{site}/{id}", "/v1/articles/{site}/{id}/versions", changesPath, streamPath, "/v1/sites", "/v1/feeds"}
	for path := range a.huma.OpenAPI().Paths {
		if !slices.Contains(order, path) {
			order = append(order, path)
		}
	}
	return order
}

// members describes those of an article.
func (v *pageView) members(lang string, t reflect.Type) error {
	for f := range t.Fields() {
		if f.Anonymous {
			if err := v.members(lang, f.Type); err != nil {
				return err
			}
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		text, err := textIn(lang, "article."+name, f.Tag.Get("doc"))
		if err != nil {
			return err
		}
		v.Members = append(v.Members, nameView{name, wireKind(f.Type), text})
	}
	return nil
}

// textIn is what a name means, in a language; the code says it in English.
func textIn(lang, name, said string) (string, error) {
	if lang == english {
		return said, nil
	}
	text, ok := namesInVietnamese[name]
	if !ok {
		return "", fmt.Errorf("describe the API: %s has no text in Vietnamese", name)
	}
	return text, nil
}

func kindOf(s *huma.Schema) string {
	kind := s.Type
	if s.Format != "" {
		kind = s.Format
	}
	if len(s.Enum) > 0 {
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i] = fmt.Sprint(v)
		}
		kind = strings.Join(values, " | ")
	}
	if s.Minimum != nil && s.Maximum != nil {
		kind += fmt.Sprintf(" %g–%g", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil {
		kind += fmt.Sprintf(" = %v", s.Default)
	}
	return kind
}

// wireKind is what a type is in JSON.
func wireKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wireKind(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	case reflect.Struct:
		if t.String() == "time.Time" {
			return "date-time"
		}
	}
	return "object"
}

// servePage serves the description in the language that a reader prefers.
func (a *API) servePage(w http.ResponseWriter, r *http.Request) {
	lang := r.URL.Query().Get("lang")
	if a.pages[lang] == nil {
		lang = vietnamese
		if first, _, _ := strings.Cut(r.Header.Get("Accept-Language"), ","); strings.HasPrefix(strings.ToLower(strings.TrimSpace(first)), english) {
			lang = english
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Security-Policy", gateway.StylePolicy(pageCSS()))
	h.Add("Vary", "Accept-Language")
	w.Write(a.pages[lang])
}
