package events

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed schema/*.json
var schemaFiles embed.FS

// The files of [Schemas].
const (
	// EventSchema describes the CloudEvents attributes; data only as "an object".
	EventSchema = "event.v1.json"
	// PublishedSchema describes the data of a [TypePublished] event.
	PublishedSchema = "article.published.v1.json"
	// WithdrawnSchema describes the data of a [TypeWithdrawn] event.
	WithdrawnSchema = "article.withdrawn.v1.json"
	// BulletinSchema describes a [Bulletin].
	BulletinSchema = "bulletin.v1.json"
	// DigestSchema describes a [Digest].
	DigestSchema = "digest.v1.json"
	// NinjsSchema describes a [NinjsBulletin]; its item only as "an object".
	NinjsSchema = "ninjs.v1.json"
	// ManifestSchema describes a [Manifest], and HoldingsSchema the answer to it.
	ManifestSchema = "manifest.v1.json"
	HoldingsSchema = "holdings.v1.json"
)

// Schemas are the contract's JSON Schemas (draft 2020-12), which refer to each other by file
// name.
func Schemas() fs.FS {
	sub, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		panic(err) // only an invalid name can fail
	}
	return sub
}

// schemaBase resolves the references between the files; nothing is fetched.
const schemaBase = "https://loa.invalid/schema/"

// schemas are the compiled files by name. That they compile is tested.
var schemas = sync.OnceValue(func() map[string]*jsonschema.Schema {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.AssertContent()
	c.RegisterFormat(&jsonschema.Format{Name: "iri", Validate: onString(checkURL)})
	c.RegisterFormat(&jsonschema.Format{Name: "date-time", Validate: onString(checkTime)})
	names := []string{EventSchema, PublishedSchema, WithdrawnSchema, BulletinSchema, DigestSchema, NinjsSchema, ManifestSchema, HoldingsSchema}
	for _, name := range names {
		data, err := fs.ReadFile(Schemas(), name)
		if err != nil {
			panic(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			panic(fmt.Errorf("read schema %s: %w", name, err))
		}
		if err := c.AddResource(schemaBase+name, doc); err != nil {
			panic(fmt.Errorf("add schema %s: %w", name, err))
		}
	}
	compiled := make(map[string]*jsonschema.Schema, len(names))
	for _, name := range names {
		compiled[name] = c.MustCompile(schemaBase + name)
	}
	return compiled
})

func onString(check func(string) error) func(any) error {
	return func(v any) error {
		if s, ok := v.(string); ok {
			return check(s)
		}
		return nil
	}
}

// Years that a time may lie in. A clock that is far off must not put an article at the top of
// every feed for good.
const (
	minYear = 1990
	maxYear = 2200
)

func checkTime(s string) error {
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return err
	}
	if y := t.UTC().Year(); y < minYear || y > maxYear {
		return fmt.Errorf("year %d", y)
	}
	return nil
}

// maxURL is the length, in bytes, of the longest address, in its ASCII form.
const maxURL = 2048

func checkURL(s string) error {
	if len(asciiURL(s)) > maxURL {
		return errors.New("too long")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("\\\"<>`", r) }); i >= 0 {
		return fmt.Errorf("the character %q", s[i])
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme == "s3" && (u.Port() != "" || strings.Trim(u.Path, "/") == "" || u.RawQuery != "" || u.Fragment != ""):
		return errors.New("not a bucket and a key") // where it may stand at all is the patterns' business
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "s3":
		return errors.New("not http or https")
	case u.Hostname() == "":
		return errors.New("no host")
	case u.User != nil:
		return errors.New("a user name")
	case strings.IndexFunc(u.Host, func(r rune) bool { return r >= 0x80 }) >= 0:
		return errors.New("the host must be in its ASCII form (xn--)")
	}
	return nil
}

// asciiURL percent-encodes what is not ASCII, as RFC 3987 §3.1 maps an IRI to a URI: a CMS may
// give /ảnh/lễ-hội.jpg as it is, and every reader gets what it can use.
func asciiURL(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0 {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// check validates v against a schema, and adds what is wrong; prefix is where v stands in the
// event.
func (fs *faults) check(schema string, v any, prefix string) {
	root := schemas()[schema]
	var ve *jsonschema.ValidationError
	if err := root.Validate(v); errors.As(err, &ve) {
		fs.translate(root, v, prefix, ve)
	}
}

// translate puts the leaves of a validation error into the words of a [Fault]: what was found
// there, and everything that the schema wants of it, rather than the keyword that failed.
func (fs *faults) translate(root *jsonschema.Schema, v any, prefix string, ve *jsonschema.ValidationError) {
	at := ve.InstanceLocation
	found, _ := valueAt(v, at)
	missing := func(names []string) {
		for _, name := range names {
			path := append(slices.Clone(at), name)
			fs.add(prefix+pointer(path...), nothing, describe(schemaAt(root, path)))
		}
	}
	switch k := ve.ErrorKind.(type) {
	case *kind.Required:
		missing(k.Missing)
	case *kind.DependentRequired:
		missing(k.Missing)
	case *kind.AdditionalProperties:
		known := "no field of this name; there are " + knownFields(schemaAt(root, at))
		for _, name := range k.Properties {
			path := append(slices.Clone(at), name)
			extra, _ := valueAt(v, path)
			fs.add(prefix+pointer(path...), show(extra), known)
		}
	case *kind.PropertyNames:
		path := append(slices.Clone(at), k.Property)
		fs.add(prefix+pointer(path...), show(k.Property), "a name: "+describe(schemaAt(root, at).PropertyNames))
	case *kind.OneOf:
		fs.add(prefix+pointer(at...), show(found), "exactly one of its alternatives")
	case *kind.FalseSchema:
		fs.add(prefix+pointer(at...), show(found), "nothing here, by the value of another field")
	default:
		if len(ve.Causes) == 0 {
			value := show(found)
			if s, ok := found.(string); ok && schemaAt(root, at).ContentEncoding != nil {
				value = fmt.Sprintf("%d characters", len(s))
			}
			fs.add(prefix+pointer(at...), value, describe(schemaAt(root, at)))
		}
		for _, cause := range ve.Causes {
			fs.translate(root, v, prefix, cause)
		}
	}
}

// valueAt follows reference tokens into a JSON value.
func valueAt(v any, tokens []string) (any, bool) {
	for _, t := range tokens {
		switch parent := v.(type) {
		case map[string]any:
			child, ok := parent[t]
			if !ok {
				return nil, false
			}
			v = child
		case []any:
			i, err := strconv.Atoi(t)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, false
			}
			v = parent[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// schemaAt follows reference tokens into a schema; it is empty where the schema says nothing.
func schemaAt(s *jsonschema.Schema, tokens []string) *jsonschema.Schema {
	s = resolve(s)
	for _, t := range tokens {
		extra, _ := s.AdditionalProperties.(*jsonschema.Schema)
		switch {
		case s.Properties[t] != nil:
			s = s.Properties[t]
		case s.Items2020 != nil:
			s = s.Items2020
		case extra != nil:
			s = extra
		default:
			return &jsonschema.Schema{}
		}
		s = resolve(s)
	}
	return s
}

func resolve(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Ref != nil {
		s = s.Ref
	}
	return s
}

func knownFields(s *jsonschema.Schema) string {
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// describe says in words what a schema wants.
func describe(s *jsonschema.Schema) string {
	if s.Const != nil {
		return show(*s.Const)
	}
	if s.Enum != nil {
		values := make([]string, len(s.Enum.Values))
		for i, v := range s.Enum.Values {
			values[i] = show(v)
		}
		return strings.Join(values, " or ")
	}
	var types []string
	if s.Types != nil {
		types = s.Types.ToStrings()
	}
	var words string
	switch {
	case len(types) != 1:
		words = strings.Join(types, " or ")
	case types[0] == "string":
		words = describeString(s)
	case types[0] == "integer" || types[0] == "number":
		words = map[string]string{"integer": "an integer", "number": "a number"}[types[0]]
		if s.Minimum != nil && s.Maximum != nil {
			words += fmt.Sprintf(" from %s to %s", s.Minimum.RatString(), s.Maximum.RatString())
		}
	case types[0] == "array":
		words = "a list"
		if s.MaxItems != nil {
			words += fmt.Sprintf(" of at most %d items", *s.MaxItems)
		}
	default:
		words = "an object"
		if s.MaxProperties != nil {
			words += fmt.Sprintf(" of at most %d fields", *s.MaxProperties)
		}
	}
	if s.Comment != "" { // our schemas put every pattern into words there
		words = strings.TrimPrefix(words+", "+s.Comment, ", ")
	}
	return words
}

func describeString(s *jsonschema.Schema) string {
	format := ""
	if s.Format != nil {
		format = s.Format.Name
	}
	switch {
	case format == "date-time":
		return fmt.Sprintf("a time such as 2026-11-24T08:30:00+07:00, in the years %d to %d", minYear, maxYear)
	case format == "email":
		return "an e-mail address"
	case s.ContentEncoding != nil:
		return "a file in base64"
	case s.MinLength != nil && s.MaxLength != nil:
		return fmt.Sprintf("text of %d to %d characters", *s.MinLength, *s.MaxLength)
	case s.MaxLength != nil:
		return fmt.Sprintf("text of at most %d characters", *s.MaxLength)
	default:
		return "text"
	}
}
