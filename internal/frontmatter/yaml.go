package frontmatter

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/loa-syndication/loa/events"
)

// image is an entry of images as a file gives it.
type image struct {
	File      string `yaml:"file"`
	URL       string `yaml:"url"`
	ContentID string `yaml:"content_id"`
	Role      string `yaml:"role"`
	Alt       string `yaml:"alt"`
	Caption   string `yaml:"caption"`
	Credit    string `yaml:"credit"`

	Focal *events.Focal `yaml:"focal"`
}

func (i image) event() events.Image {
	return events.Image{URL: i.URL, ContentID: i.ContentID, Role: i.Role, Alt: i.Alt,
		Caption: i.Caption, Credit: i.Credit, Focal: i.Focal}
}

// source is what the body's src says where it shows the picture.
func (i image) source() string {
	switch {
	case i.ContentID != "":
		return "cid:" + i.ContentID
	case i.File != "":
		return i.File
	}
	return i.URL
}

// timeKeys are the keys whose values are times. The YAML library takes what it cannot read
// for the zero time, and a date without an offset for UTC: so they are checked here first.
var timeKeys = []string{"published", "updated", "embargo_until", "expires_at"}

// decodeFront reads the front matter. Its faults lack the file's name.
func decodeFront(front []byte) (events.Article, []image, *Error) {
	var article events.Article
	root, fault := parseMapping(front)
	if fault != nil {
		return article, nil, fault
	}
	var images []image
	if _, fault := plainYAML(root); fault != nil {
		return article, nil, fault
	}
	var rest []*ast.MappingValueNode
	for _, entry := range root.Values {
		key := entry.Key.GetToken().Value
		switch {
		case key == "body":
			return article, nil, at(entry.Key, "body: expected after the front matter, not in it")
		case key == "images":
			if fault := decode(entry.Value, &images, reflect.TypeFor[image]()); fault != nil {
				return article, nil, fault
			}
			if fault := checkImages(images, entry.Value); fault != nil {
				return article, nil, fault
			}
			continue
		case slices.Contains(timeKeys, key):
			text := entry.Value.GetToken().Value
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				return article, nil, at(entry.Value,
					"%s: expected a time with its offset, as 2026-11-02T07:30:00+07:00, found %q", key, text)
			}
		}
		rest = append(rest, entry)
	}
	root.Values = rest
	if fault := decode(root, &article, reflect.TypeFor[events.Article]()); fault != nil {
		return events.Article{}, nil, fault
	}
	return article, images, nil
}

// numberKeys are the keys whose values are numbers.
var numberKeys = []string{"version", "urgency", "size", "latitude", "longitude", "x", "y"}

// plainYAML makes text of what YAML takes for a number or a truth value where the contract
// wants text: else the id 0042 would become 34. It refuses anchors, aliases, tags and merge
// keys, which no article needs and over which the YAML library has crashed.
func plainYAML(node ast.Node) (ast.Node, *Error) {
	var fault *Error
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, entry := range n.Values {
			key, ok := entry.Key.(*ast.StringNode)
			if !ok {
				return nil, at(entry.Key, "expected a plain key, found %q", entry.Key.GetToken().Value)
			}
			if slices.Contains(numberKeys, key.Value) && isNumber(entry.Value) {
				continue
			}
			if entry.Value, fault = plainYAML(entry.Value); fault != nil {
				return nil, fault
			}
		}
	case *ast.SequenceNode:
		for i := range n.Values {
			if n.Values[i], fault = plainYAML(n.Values[i]); fault != nil {
				return nil, fault
			}
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return ast.String(n.GetToken()), nil
	case *ast.StringNode, *ast.LiteralNode, *ast.NullNode:
	default:
		return nil, at(node, "expected plain YAML without anchors, aliases and tags, found %q", node.GetToken().Value)
	}
	return node, nil
}

func isNumber(node ast.Node) bool {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return true
	}
	return false
}

func parseMapping(front []byte) (*ast.MappingNode, *Error) {
	file, err := parser.ParseBytes(front, 0)
	if err != nil {
		return nil, describe(err, nil)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, &Error{Line: 1, Problem: "expected keys such as site, id, version, url, title and published, found none"}
	}
	root, ok := file.Docs[0].Body.(*ast.MappingNode)
	if !ok {
		return nil, at(file.Docs[0].Body, "expected lines of the form key: value")
	}
	return root, nil
}

func checkImages(images []image, node ast.Node) *Error {
	entries, _ := node.(*ast.SequenceNode)
	for i, img := range images {
		where := node
		if entries != nil && i < len(entries.Values) {
			where = entries.Values[i]
		}
		switch {
		case (img.File == "") == (img.URL == ""):
			return at(where, "images[%d]: expected either file or url", i)
		case img.File != "" && !fs.ValidPath(img.File):
			return at(where, "images[%d]: expected a file beside the article or below it, found %q", i, img.File)
		}
	}
	return nil
}

// decode reads node into dst; element is the struct whose keys a fault may have to list.
func decode(node ast.Node, dst any, element reflect.Type) *Error {
	if err := yaml.NodeToValue(node, dst, yaml.Strict()); err != nil {
		return describe(err, element)
	}
	return nil
}

// describe turns an error of the YAML library into ours: line, what was found, what was
// expected.
func describe(err error, element reflect.Type) *Error {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil {
		return &Error{Problem: fmt.Sprintf("front matter: %v", err)}
	}
	token := located.GetToken()
	fault := &Error{Line: token.Position.Line, Problem: located.GetMessage()}
	var unknown *yaml.UnknownFieldError
	var mismatch *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unknown):
		fault.Problem = fmt.Sprintf("unknown key %q", token.Value)
		if keys := keysOf(element); slices.Contains(keys, token.Value) {
			fault.Problem = fmt.Sprintf("key %q is not expected here", token.Value)
		} else if element != nil {
			fault.Problem += ": expected one of " + strings.Join(keys, ", ")
		}
	case errors.As(err, &mismatch):
		fault.Problem = fmt.Sprintf("expected %s, found %q", kindName(mismatch.DstType), token.Value)
	case errors.As(err, &node):
		fault.Problem = fmt.Sprintf("expected %s, found %q", nodeName(node.Expected), token.Value)
	}
	return fault
}

// keysOf lists the keys of a front matter's struct.
func keysOf(t reflect.Type) []string {
	if t == nil {
		return nil
	}
	var keys []string
	for field := range t.Fields() {
		tag := field.Tag.Get("yaml")
		if tag == "" {
			tag = field.Tag.Get("json")
		}
		if name, _, _ := strings.Cut(tag, ","); name != "body" {
			keys = append(keys, name)
		}
	}
	return keys
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return nodeName(ast.SequenceType)
	case reflect.Struct, reflect.Pointer:
		return nodeName(ast.MappingType)
	}
	return t.String()
}

func nodeName(t ast.NodeType) string {
	switch t {
	case ast.SequenceType:
		return `a list of lines that begin with "- "`
	case ast.MappingType:
		return "indented lines of the form key: value"
	}
	return t.YAMLName()
}

// at is a fault in node.
func at(node ast.Node, format string, args ...any) *Error {
	return &Error{Line: node.GetToken().Position.Line, Problem: fmt.Sprintf(format, args...)}
}
