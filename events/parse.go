package events

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"golang.org/x/text/unicode/norm"
)

// Parse reads an event from a NATS message and holds it against the contract. It takes both
// modes of CloudEvents 1.0 over NATS: structured (the whole event is data, with content type
// application/cloudevents+json or none), and binary (the attributes are headers ce-id, ce-type
// and so on, data is the article alone). Names of headers may be in any case.
//
// The error is an *[InvalidError] with everything that was found wrong, and no other.
func Parse(header map[string][]string, data []byte) (Event, error) {
	mode, err := modeOf(header)
	if err != nil {
		return Event{}, err
	}
	var attributes map[string]any
	var content any
	var fs faults
	if mode == structured {
		whole, err := readStrict(data, "")
		if err != nil {
			return Event{}, err
		}
		var ok bool
		if attributes, ok = whole.(map[string]any); !ok {
			return Event{}, invalid("", show(whole), "an object: an event in the JSON format of CloudEvents")
		}
		content = attributes["data"]
	} else {
		attributes = fs.attributes(header)
		if content, err = readStrict(data, "/data"); err != nil {
			return Event{}, err
		}
		attributes["data"] = content
	}

	fs.rules(attributes)
	fs.check(EventSchema, attributes, "")
	if object, ok := content.(map[string]any); ok {
		switch attributes["type"] {
		case TypePublished:
			fs.articleRules(object)
			fs.check(PublishedSchema, object, "/data")
		case TypeWithdrawn:
			fs.withdrawalRules(object)
			fs.check(WithdrawnSchema, object, "/data")
		}
	}
	if err := fs.err(); err != nil {
		return Event{}, err
	}
	return decode(attributes, data, mode)
}

type contentMode int

const (
	structured contentMode = iota
	binary
)

const attributePrefix = "ce-"

// modeOf tells the mode by the content type, or by the presence of attributes in the header
// (CloudEvents NATS binding 1.0.2, §3). A plain "application/json" without any, as people send
// it by hand, is taken for structured.
func modeOf(header map[string][]string) (contentMode, error) {
	contentType, attributes := "", false
	for name, values := range header {
		name = strings.ToLower(name)
		if name == "content-type" && len(values) > 0 {
			contentType = values[0]
		}
		attributes = attributes || strings.HasPrefix(name, attributePrefix)
	}
	if contentType == "" {
		if attributes {
			return binary, nil
		}
		return structured, nil
	}
	const expected = "application/cloudevents+json, or application/json with the attributes in headers ce-*"
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && media == "application/cloudevents+json":
		return structured, nil
	case err == nil && media == "application/json":
		if attributes {
			return binary, nil
		}
		return structured, nil
	}
	return 0, invalid("/datacontenttype", show(contentType), expected)
}

// attributes reads the headers of binary mode. Values are percent-encoded (CloudEvents HTTP
// binding 1.0.2, §3.1.3.2, which the NATS binding takes over).
func (fs *faults) attributes(header map[string][]string) map[string]any {
	attributes := make(map[string]any)
	for name, values := range header {
		name, ok := strings.CutPrefix(strings.ToLower(name), attributePrefix)
		if !ok || len(values) == 0 {
			continue
		}
		if _, twice := attributes[name]; twice || len(values) > 1 {
			fs.add(pointer(name), "several values", "one header "+attributePrefix+name)
		}
		value, err := url.PathUnescape(values[0])
		if err != nil || !utf8.ValidString(value) {
			fs.add(pointer(name), show(values[0]), "percent-encoded UTF-8")
		}
		attributes[name] = value
	}
	return attributes
}

// decode makes the event of what was found to be right.
func decode(attributes map[string]any, data []byte, mode contentMode) (Event, error) {
	var e Event
	e.ID, _ = attributes["id"].(string)
	e.Source, _ = attributes["source"].(string)
	e.Type, _ = attributes["type"].(string)
	e.Subject, _ = attributes["subject"].(string)
	e.Time, _ = timeAt(attributes, "time")

	var content any
	if e.Type == TypePublished {
		e.Article = new(Article)
		content = e.Article
	} else {
		e.Withdrawal = new(Withdrawal)
		content = e.Withdrawal
	}
	prefix := "/data"
	if mode == structured {
		prefix = ""
		content = &struct {
			Data any `json:"data"`
		}{content}
	}
	if err := json.Unmarshal(data, content); err != nil {
		// The schema lets a number be written as 3.0 or 3e0; a Go integer does not.
		var semantic *json.SemanticError
		if errors.As(err, &semantic) {
			return Event{}, invalid(prefix+string(semantic.JSONPointer), cut(string(semantic.JSONValue)),
				"a number without fraction or exponent")
		}
		return Event{}, invalid(prefix, cut(printable(err.Error())), strictly)
	}
	if e.Article != nil {
		e.Article.normalize()
	} else {
		e.Withdrawal.normalize()
	}
	e.Digest = e.digest()
	return e, nil
}

// rules are those that JSON Schema cannot say of the attributes, or only less clearly. They are
// tried before it: of two faults in one place the first is kept.
func (fs *faults) rules(attributes map[string]any) {
	if s, ok := attributes["data_base64"]; ok {
		fs.add("/data_base64", show(s), "nothing: data must be JSON, in the field data")
		delete(attributes, "data_base64")
	}
	content, _ := attributes["data"].(map[string]any)
	site, ok1 := content["site"].(string)
	id, ok2 := content["id"].(string)
	subject, ok3 := attributes["subject"].(string)
	if want := site + "/" + id; ok1 && ok2 && ok3 && norm.NFC.String(subject) != norm.NFC.String(want) {
		fs.add("/subject", show(subject), show(want)+", the site and id of data")
	}
	if n := utf8.RuneCountInString(norm.NFC.String(id)); n > maxID {
		fs.add("/data/id", fmt.Sprintf("%d characters", n), fmt.Sprintf("at most %d characters, in Unicode's NFC", maxID))
	}
}

// maxID is the length of an article's id, in characters; the schemas repeat it.
const maxID = 256

func (fs *faults) articleRules(article map[string]any) {
	published, ok1 := timeAt(article, "published")
	expires, ok2 := timeAt(article, "expires_at")
	if ok1 && ok2 && !expires.After(published) {
		fs.add("/data/expires_at", show(article["expires_at"]), "a time after published")
	}
	for i, image := range objects(article, "images") {
		_, hasURL := image["url"]
		_, hasData := image["data"]
		if hasURL == hasData {
			value := "neither"
			if hasURL {
				value = "both"
			}
			fs.add(fmt.Sprintf("/data/images/%d", i), value, "either url or data")
		}
	}
	for i, place := range objects(article, "places") {
		_, hasLatitude := place["latitude"]
		_, hasLongitude := place["longitude"]
		const expected = "both latitude and longitude, or neither"
		switch {
		case hasLatitude && !hasLongitude:
			fs.add(fmt.Sprintf("/data/places/%d/longitude", i), nothing, expected)
		case hasLongitude && !hasLatitude:
			fs.add(fmt.Sprintf("/data/places/%d/latitude", i), nothing, expected)
		}
	}
}

func (fs *faults) withdrawalRules(withdrawal map[string]any) {
	redirect, has := withdrawal["redirect_url"]
	switch status := withdrawal["status"]; {
	case status == WithdrawnRedirect && !has:
		fs.add("/data/redirect_url", nothing, `the replacement's address, with the status "redirect"`)
	case status == WithdrawnGone && has:
		fs.add("/data/redirect_url", show(redirect), `nothing, with the status "gone"`)
	}
}

// objects are the items of a list that are objects, with their indexes.
func objects(parent map[string]any, name string) func(yield func(int, map[string]any) bool) {
	list, _ := parent[name].([]any)
	return func(yield func(int, map[string]any) bool) {
		for i, item := range slices.All(list) {
			if object, ok := item.(map[string]any); ok && !yield(i, object) {
				return
			}
		}
	}
}

// timeAt is a time of the contract: what lies outside of its years is a fault of its own.
func timeAt(parent map[string]any, name string) (time.Time, bool) {
	s, ok := parent[name].(string)
	if !ok {
		return time.Time{}, false
	}
	var t time.Time
	if checkTime(s) != nil {
		return t, false
	}
	err := t.UnmarshalText([]byte(s))
	return t, err == nil
}
