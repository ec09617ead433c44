package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/loa-syndication/loa/internal/article"
)

// item is an article as JSON: all of it that the caller may see, or the fields that were asked for.
type item json.RawMessage

// MarshalJSON gives what was encoded.
func (i item) MarshalJSON() ([]byte, error) { return i, nil }

// Schema describes it as the article that it is.
func (item) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[article.Public](), true, "Article")
}

// fieldNames are the members of an article.
var fieldNames = members(reflect.TypeFor[article.Public]())

func members(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, members(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// allFields asks for everything, the text included.
const allFields = "all"

// parseFields reads the parameter fields: nil for what is shown unless somebody asks.
func parseFields(text string) (fields []string, err error) {
	if text == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != allFields && !slices.Contains(fieldNames, name) {
			return nil, invalid("query.fields", name, "expected "+allFields+", or some of "+strings.Join(fieldNames, ","))
		}
		fields = append(fields, name)
	}
	return fields, nil
}

// public is the article as the caller may see it.
func (a *API) public(who caller, one *article.Article) article.Public {
	p := one.WithMedia(a.o.MediaURL).Public(a.o.Sites.Name(one.Site))
	if !who.full {
		p = p.Brief()
	}
	return p
}

// item encodes an article; whole says whether its text is shown to who asks for no fields.
func (a *API) item(who caller, one *article.Article, fields []string, whole bool) (item, error) {
	p := a.public(who, one)
	if fields == nil && !whole {
		p.Body = ""
	}
	data, err := encode(p)
	if err != nil || fields == nil || slices.Contains(fields, allFields) {
		return data, err
	}
	var every map[string]json.RawMessage
	if err := json.Unmarshal(data, &every); err != nil {
		return nil, err
	}
	some := make(map[string]json.RawMessage, len(fields))
	for _, name := range fields {
		if v, ok := every[name]; ok {
			some[name] = v
		}
	}
	return encode(some)
}

// encode does not escape HTML, which would make a text of many tags twice as large.
func encode(v any) (item, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return item(bytes.TrimSpace(b.Bytes())), nil
}

// sitesOf are the sites that a request is about: what the caller may see of the site, or of what
// lies under subtree; nil: all there are. A site that is not his to see is as good as none.
func (a *API) sitesOf(who caller, one, subtree string) ([]string, error) {
	if one == "" && subtree == "" {
		return who.sites, nil
	}
	for name, id := range map[string]string{"site": one, "subtree": subtree} {
		if _, ok := a.o.Sites.Get(id); id != "" && (!ok || !who.covers(id)) {
			return nil, invalid("query."+name, id, "expected one of the sites that /v1/sites lists")
		}
	}
	sites := []string{}
	for _, s := range a.o.Sites.All() {
		if who.covers(s.ID) && (one == "" || s.ID == one) && (subtree == "" || a.o.Sites.Under(s.ID, subtree)) {
			sites = append(sites, s.ID)
		}
	}
	return sites, nil
}
