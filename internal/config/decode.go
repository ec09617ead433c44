package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is a file being read into a [Config]. The YAML library's own decoder gives up at
// the first fault; this one goes on, and remembers where everything stood.
type document struct {
	name   string
	lines  []string
	faults []Fault
	places map[string]Place // by path; "" is the whole
}

// decode reads data over what is in c already.
func decode(name string, data []byte, c *Config) *document {
	d := &document{
		name:   name,
		lines:  strings.Split(string(data), "\n"),
		places: map[string]Place{"": {Source: name}},
	}
	if i := slices.IndexFunc(d.lines, func(l string) bool { return !utf8.ValidString(l) }); i >= 0 {
		d.fault(Place{Source: name, Line: i + 1, Column: 1}, "", "expected text in UTF-8")
		return d
	}
	root, err := parse(data)
	switch {
	case err != nil:
		d.syntax(err)
	case root != nil:
		d.value("", root, reflect.ValueOf(c).Elem())
	}
	return d
}

// parse gives the file's one document; nil when there is nothing in it but comments.
func parse(data []byte) (root ast.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not YAML: the parser gave up: %v", r)
		}
	}()
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey()) // we report every one of them
	if err != nil {
		return nil, err
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			return nil, &yaml.SyntaxError{Message: "expected one YAML document, found a second one", Token: doc.Body.GetToken()}
		default:
			root = doc.Body
		}
	}
	return root, nil
}

func (d *document) syntax(err error) {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil {
		d.fault(Place{Source: d.name}, "", err.Error())
		return
	}
	d.fault(d.at(located.GetToken()), "", mask(located.GetMessage()))
}

func (d *document) fault(at Place, path, problem string) {
	d.faults = append(d.faults, Fault{at, path, problem})
}

func (d *document) at(t *token.Token) Place {
	p := Place{Source: d.name}
	if t == nil || t.Position == nil {
		return p
	}
	p.Line, p.Column, p.lines = t.Position.Line, t.Position.Column, d.lines
	return p
}

// value reads node into v, and reports what is wrong with it. A null, which is what a key
// whose lines are all commented out has, leaves v as it is.
func (d *document) value(path string, node ast.Node, v reflect.Value) {
	place := d.at(start(node))
	if v.Type() == reflect.TypeFor[Secret]() {
		place.lines = nil
	}
	d.places[path] = place
	switch node.(type) {
	case *ast.NullNode:
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.fault(place, path, "expected plain YAML, without anchors, aliases and tags")
		return
	}
	switch t := v.Type(); {
	case isScalar(t):
		text, ok := scalar(node)
		if !ok {
			d.fault(place, path, fmt.Sprintf("found %s, expected %s", form(node), string(expectation(t))))
			return
		}
		if err := assign(v, text); err != nil {
			found := "found " + quote(text) + ", "
			if t == reflect.TypeFor[Secret]() {
				found = ""
			}
			d.fault(place, path, found+err.Error())
		}
	case t.Kind() == reflect.Slice:
		d.list(path, node, v)
	case t.Kind() == reflect.Map:
		d.entries(path, node, func(key string, at Place, value ast.Node) {
			if v.IsNil() {
				v.Set(reflect.MakeMap(t))
			}
			element := reflect.New(t.Elem()).Elem()
			d.value(join(path, key), value, element)
			v.SetMapIndex(reflect.ValueOf(key), element)
		})
	default:
		d.object(path, node, v)
	}
}

// start is the token at which a value begins; a mapping's own is its first colon.
func start(node ast.Node) *token.Token {
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	return node.GetToken()
}

func (d *document) list(path string, node ast.Node, v reflect.Value) {
	items, ok := node.(*ast.SequenceNode)
	if !ok {
		d.fault(d.at(start(node)), path, fmt.Sprintf(`found %s, expected a list: lines that begin with "- ", or [a, b]`, form(node)))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items.Values), len(items.Values)))
	for i, item := range items.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if _, null := item.(*ast.NullNode); null {
			d.fault(d.at(item.GetToken()), at, "found nothing, expected a value")
			continue
		}
		d.value(at, item, v.Index(i))
	}
}

func (d *document) object(path string, node ast.Node, v reflect.Value) {
	fields := make(map[string]reflect.Value)
	var known []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "-" {
			fields[name] = v.Field(i)
			known = append(known, name)
		}
	}
	d.entries(path, node, func(key string, at Place, value ast.Node) {
		if field, ok := fields[key]; ok {
			d.value(join(path, key), value, field)
			return
		}
		d.fault(at, join(path, key), "unknown key, "+suggest(key, known))
	})
}

// entries calls each with every key of a mapping.
func (d *document) entries(path string, node ast.Node, each func(key string, at Place, value ast.Node)) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		d.fault(d.at(start(node)), path, fmt.Sprintf("found %s, expected indented lines of the form key: value", form(node)))
		return
	}
	first := make(map[string]int) // line of each key
	for _, entry := range mapping.Values {
		at := d.at(entry.Key.GetToken())
		key, ok := entry.Key.(ast.ScalarNode)
		if _, plain := scalar(entry.Key); !ok || !plain || entry.Value == nil {
			d.fault(at, join(path, entry.Key.GetToken().Value), "expected a plain key, without anchors, aliases, tags and merging")
			continue
		}
		name, _ := scalar(key)
		if line, twice := first[name]; twice {
			d.fault(at, join(path, name), fmt.Sprintf("the key is there twice; first in line %d", line))
			continue
		}
		first[name] = at.Line
		each(name, at, entry.Value)
	}
}

// join gives the path of a key; one that nobody would use is shown as it can be.
func join(path, key string) string {
	if !plainKey.MatchString(key) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

// scalar gives the text of a value as it was written: 0042 is not 34.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		if n.Value == nil {
			return "", true
		}
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// form is what a value looks like, for a message.
func form(node ast.Node) string {
	switch node.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "key: value lines"
	}
	if text, ok := scalar(node); ok {
		return quote(text)
	}
	return "something else"
}

func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return false
	case reflect.Struct:
		return t == reflect.TypeFor[netip.Prefix]()
	}
	return true
}

func expectation(t reflect.Type) wanted {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return wantDuration
	case reflect.TypeFor[Size]():
		return wantSize
	case reflect.TypeFor[Count]():
		return wantCount
	case reflect.TypeFor[Rate]():
		return wantRate
	case reflect.TypeFor[netip.Prefix]():
		return wantPrefix
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return "text"
}

// assign reads text into v. Its errors are [wanted].
func assign(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := parseDuration(text)
		*p = d
		return err
	case *netip.Prefix:
		prefix, err := parsePrefix(text)
		*p = prefix
		return err
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *bool:
		if text != "true" && text != "false" {
			return expectation(v.Type())
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return expectation(v.Type())
		}
		*p = n
	case *string:
		*p = text
	}
	return nil
}

// maxKnown is how many known words a message lists: all keys, but not all of 3,000 sites.
const maxKnown = 20

// suggest names the known word that is nearest to the one found, or all of them.
func suggest(word string, known []string) string {
	word = strings.ToLower(word)
	best, least := "", max(len(word)/3, 1)+1
	for _, k := range known {
		n := distance(word, k)
		if len(word) > 2 && (strings.HasPrefix(word, k) || strings.HasPrefix(k, word)) {
			n = min(n, 1)
		}
		if n < least {
			best, least = k, n
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	if len(known) > maxKnown {
		return fmt.Sprintf("expected one of %s and %d more", strings.Join(known[:maxKnown], ", "), len(known)-maxKnown)
	}
	return "expected one of " + strings.Join(known, ", ")
}

// distance is how many characters have to be changed, added, removed or swapped with their
// neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	if len(a) > maxValue || len(b) > maxValue {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
