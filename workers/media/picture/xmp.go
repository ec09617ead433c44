package picture

import (
	"bytes"
	"encoding/xml"
)

const (
	// xmpPrefix begins an APP1 segment with XMP (XMP part 3, §1.1.3), xmpKeyword an iTXt chunk.
	xmpPrefix  = "http://ns.adobe.com/xap/1.0/\x00"
	xmpKeyword = "XML:com.adobe.xmp"
	// maxXMP is in bytes: a segment's greatest length. Editors' histories of their work, the
	// only longer ones, are not looked for rights.
	maxXMP = 64 << 10

	nsPhotoshop = "http://ns.adobe.com/photoshop/1.0/"
	nsDC        = "http://purl.org/dc/elements/1.1/"
)

// readXMP takes credit, artist and copyright from XMP, unless something before gave them.
func (m *metadata) readXMP(b []byte) {
	if len(b) > maxXMP {
		return
	}
	take := func(name xml.Name, text []byte) {
		var field *string
		switch name {
		case xml.Name{Space: nsPhotoshop, Local: "Credit"}:
			field = &m.credit
		case xml.Name{Space: nsDC, Local: "creator"}:
			field = &m.artist
		case xml.Name{Space: nsDC, Local: "rights"}:
			field = &m.copyright
		default:
			return
		}
		if *field == "" {
			*field = cleanText(text)
		}
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	var path []xml.Name
	for {
		token, err := d.Token()
		if err != nil { // the end, or no XML
			return
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name)
			for _, a := range t.Attr { // short properties are attributes of rdf:Description
				take(a.Name, []byte(a.Value))
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData: // in the property itself, or in an item of its list
			for _, name := range path[max(0, len(path)-3):] {
				take(name, t)
			}
		}
	}
}

// xmp writes the credit, which Exif has no place for; nil when there is none.
func (m *metadata) xmp() []byte {
	if m.credit == "" {
		return nil
	}
	var b bytes.Buffer
	b.WriteString(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">` +
		`<rdf:Description rdf:about="" xmlns:photoshop="` + nsPhotoshop + `"><photoshop:Credit>`)
	_ = xml.EscapeText(&b, []byte(m.credit)) // a Buffer takes everything
	b.WriteString(`</photoshop:Credit></rdf:Description></rdf:RDF></x:xmpmeta>`)
	return b.Bytes()
}
