package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/deepteams/webp"
	"github.com/deepteams/webp/mux"
	"github.com/rwcarlsen/goexif/exif"
)

// wantRights reads Exif with another parser, and compares what must have been kept.
func wantRights(t *testing.T, what string, tiff []byte, orientation int) {
	t.Helper()
	x, err := exif.Decode(bytes.NewReader(tiff))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for field, want := range map[exif.FieldName]string{exif.Artist: artist, exif.Copyright: copyright} {
		tag, err := x.Get(field)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got, _ := tag.StringVal(); got != want {
			t.Errorf("%s: %s is %q; want %q", what, field, got, want)
		}
	}
	tag, err := x.Get(exif.Orientation)
	if orientation == 0 {
		if err == nil {
			t.Errorf("%s: still has an orientation", what)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if got, _ := tag.Int(0); got != orientation {
		t.Errorf("%s: orientation %d; want %d", what, got, orientation)
	}
}

// exifOf finds the Exif metadata of a file.
func exifOf(t *testing.T, data []byte) []byte {
	t.Helper()
	if bytes.HasPrefix(data, []byte("RIFF")) {
		d, err := mux.NewDemuxer(data)
		if err != nil {
			t.Fatal(err)
		}
		chunk, err := d.GetChunk(mux.FourCCEXIF)
		if err != nil {
			t.Fatal(err)
		}
		return chunk
	}
	if bytes.HasPrefix(data, []byte(pngSignature)) {
		i := bytes.Index(data, []byte("eXIf"))
		return data[i+4 : i+4+int(binary.BigEndian.Uint32(data[i-4:]))]
	}
	return data // goexif finds it in a JPEG
}

func dirtyFiles(t *testing.T, img image.Image) map[string][]byte {
	tiff := secretEXIF(3)
	j := into(jpegFile(t, img),
		segment(mAPP0, "JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x01\x01SECRET thumbnail"),
		segment(mAPP0, "JFXX\x00SECRET"),
		segment(mAPP1, exifPrefix+string(tiff)),
		segment(mAPP1, "http://ns.adobe.com/xap/1.0/\x00<x>SECRET</x>"),
		segment(mAPP2, "MPF\x00SECRET"),
		segment(mAPP13, photoshopPrefix+"8BIM\x04\x04\x00\x00\x00\x00\x00\x0b\x1c\x02\x5a\x00\x06SECRET"),
		segment(mCOM, "SECRET"))
	j = append(j, "SECRET video behind the picture"...)

	p := pngFile(t, img)
	head, tail := p[:33:33], p[33:]
	end := len(tail) - 12
	p = appendPNGChunk(head, "tEXt", []byte("Comment\x00SECRET"))
	p = appendPNGChunk(p, "eXIf", tiff)
	p = appendPNGChunk(p, "tIME", []byte("SECRET!"))
	p = appendPNGChunk(p, "prVt", []byte("SECRET"))
	p = append(append(p, tail[:end]...), tail[end:]...)
	p = append(p, "SECRET archive behind the picture"...)

	w := webpFile(t, img, func(o *webp.EncoderOptions) {
		o.EXIF = tiff
		o.XMP = []byte("<x>SECRET</x>")
	})
	w = appendWebPChunk(w, "priv", []byte("SECRET"))
	binary.LittleEndian.PutUint32(w[4:], uint32(len(w)-8))
	w = append(w, "SECRET"...)
	return map[string][]byte{"JPEG": j, "PNG": p, "WebP": w}
}

func TestOnlyRightsAndOrientationAreKept(t *testing.T) {
	img := card(400, 300)
	for name, data := range dirtyFiles(t, img) {
		t.Run(name, func(t *testing.T) {
			p := open(t, data)
			if bytes.Contains(p.Original, []byte("SECRET")) {
				t.Errorf("the original still holds %q", after(p.Original, "SECRET"))
			}
			wantRights(t, "original", exifOf(t, p.Original), 3)
			for _, r := range render(t, p) {
				if bytes.Contains(r.Data, []byte("SECRET")) {
					t.Errorf("%s w%d still holds a secret", r.Format, r.Width)
				}
				wantRights(t, string(r.Format), exifOf(t, r.Data), 0)
			}
			if again := open(t, p.Original); !bytes.Equal(again.Original, p.Original) {
				t.Error("cleaning a clean file changes it")
			}
		})
	}
}

func after(b []byte, s string) []byte {
	i := bytes.Index(b, []byte(s))
	return b[i:min(len(b), i+40)]
}

func TestCleaningChangesNoPixel(t *testing.T) {
	img := card(400, 300)
	decode := map[string]func([]byte) (image.Image, error){
		"JPEG": func(b []byte) (image.Image, error) { return jpeg.Decode(bytes.NewReader(b)) },
		"PNG":  func(b []byte) (image.Image, error) { return png.Decode(bytes.NewReader(b)) },
		"WebP": func(b []byte) (image.Image, error) { return webp.Decode(bytes.NewReader(b)) },
	}
	for name, data := range dirtyFiles(t, img) {
		before, err := decode[name](data)
		if err != nil {
			t.Fatal(err)
		}
		now, err := decode[name](open(t, data).Original)
		if err != nil {
			t.Fatal(err)
		}
		if !samePixels(before, now) {
			t.Errorf("%s: pixels differ", name)
		}
	}
}

func samePixels(a, b image.Image) bool {
	if a.Bounds() != b.Bounds() {
		return false
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			if a.At(x, y) != b.At(x, y) {
				return false
			}
		}
	}
	return true
}

func TestGIFLosesItsCommentsButNotItsLoop(t *testing.T) {
	var b bytes.Buffer
	frame := image.NewPaletted(image.Rect(0, 0, 8, 8), color.Palette{red, blue})
	if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{frame, frame}, Delay: []int{1, 1}, LoopCount: 3}); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	at := 13 + gifTable(data[10])
	comment := append([]byte{gifExtension, 0xfe, 6}, "SECRET\x00"...)
	xmp := append([]byte{gifExtension, gifApplication, 11}, "XMP DataXMP\x06SECRET\x00"...)
	data = slices.Concat(data[:at], comment, xmp, data[at:], []byte("SECRET"))
	p := open(t, data)
	if bytes.Contains(p.Original, []byte("SECRET")) {
		t.Error("a comment is still there")
	}
	g, err := gif.DecodeAll(bytes.NewReader(p.Original))
	if err != nil || g.LoopCount != 3 || len(g.Image) != 2 {
		t.Errorf("the animation is damaged: %v", err)
	}
}

func TestRightsFromPressMetadata(t *testing.T) {
	iim := "\x1c\x02\x50\x00" + string(rune(len(artist))) + artist + "\x1c\x02\x74\x00" + string(rune(len(copyright))) + copyright
	block := "8BIM\x04\x04\x00\x00\x00\x00\x00" + string(rune(len(iim))) + iim
	p := open(t, into(jpegFile(t, card(20, 20)), segment(mAPP13, photoshopPrefix+"8BIM\x03\xed\x00\x00\x00\x00\x00\x01x\x00"+block)))
	wantRights(t, "original", p.Original, 0)
}

func TestCreditIsKept(t *testing.T) {
	const credit = "Ảnh: Trần Bình/TTXVN"
	xmp := func(inner, attr string) string {
		return `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description` +
			` xmlns:photoshop="` + nsPhotoshop + `" xmlns:dc="` + nsDC + `" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="SECRET"` +
			attr + `>` + inner + `</rdf:Description></rdf:RDF></x:xmpmeta>`
	}
	asElement := xmp(`<photoshop:Credit>`+credit+`</photoshop:Credit><dc:creator><rdf:Seq><rdf:li>`+artist+
		`</rdf:li></rdf:Seq></dc:creator><dc:rights><rdf:Alt><rdf:li xml:lang="x-default">`+copyright+`</rdf:li></rdf:Alt></dc:rights>`, "")
	asAttribute := xmp("", ` photoshop:Credit="`+credit+`"`)
	iim := "\x1c\x02\x6e\x00" + string(rune(len(credit))) + credit
	img := card(40, 30)
	j, p := jpegFile(t, img), pngFile(t, img)
	for name, data := range map[string][]byte{
		"JPEG, element":   into(j, segment(mAPP1, xmpPrefix+asElement)),
		"JPEG, attribute": into(j, segment(mAPP1, xmpPrefix+asAttribute)),
		"JPEG, IPTC":      into(j, segment(mAPP13, photoshopPrefix+"8BIM\x04\x04\x00\x00\x00\x00\x00"+string(rune(len(iim)))+iim)),
		"PNG":             slices.Concat(appendPNGChunk(p[:33:33], "iTXt", []byte(xmpKeyword+"\x00\x00\x00\x00\x00"+asElement)), p[33:]),
		"WebP":            webpFile(t, img, func(o *webp.EncoderOptions) { o.XMP = []byte(asAttribute) }),
	} {
		opened := open(t, data)
		if strings.Contains(string(opened.Original), "SECRET") {
			t.Errorf("%s: the original keeps more", name)
		}
		files := map[string][]byte{"original": opened.Original}
		for _, r := range render(t, opened) {
			files[string(r.Format)] = r.Data
		}
		for kind, file := range files {
			m := open(t, file).file.meta
			if m.credit != credit {
				t.Errorf("%s, %s: credit %q", name, kind, m.credit)
			}
			if bytes.Contains(data, []byte("<dc:rights>")) && (m.artist != artist || m.copyright != copyright) {
				t.Errorf("%s, %s: artist %q, copyright %q", name, kind, m.artist, m.copyright)
			}
		}
	}
}

func TestRightsFromPNGText(t *testing.T) {
	data := pngFile(t, card(20, 20))
	head, tail := data[:33:33], data[33:]
	head = appendPNGChunk(head, "iTXt", []byte("Author\x00\x00\x00vi\x00\x00"+artist))
	head = appendPNGChunk(head, "tEXt", []byte("Copyright\x00\xa9 1999"))
	p := open(t, append(head, tail...))
	if m := p.file.meta; m.artist != artist || m.copyright != "© 1999" {
		t.Errorf("artist %q, copyright %q", m.artist, m.copyright)
	}
	if m := open(t, p.Original).file.meta; m.artist != artist || m.copyright != "© 1999" {
		t.Errorf("original: artist %q, copyright %q", m.artist, m.copyright)
	}
}

func TestWideGamutProfileIsCarriedIntoEveryRendition(t *testing.T) {
	p3 := profile("RGB ", "Display P3", 536)
	var packed bytes.Buffer
	zw := zlib.NewWriter(&packed)
	zw.Write(p3)
	zw.Close()
	img := card(400, 300)
	pngData := pngFile(t, img)
	for name, data := range map[string][]byte{
		"JPEG": into(jpegFile(t, img), segment(mAPP2, iccPrefix+"\x01\x02"+string(p3[:300])), segment(mAPP2, iccPrefix+"\x02\x02"+string(p3[300:]))),
		"PNG":  slices.Concat(appendPNGChunk(pngData[:33:33], "iCCP", append([]byte("P3\x00\x00"), packed.Bytes()...)), pngData[33:]),
		"WebP": webpFile(t, img, func(o *webp.EncoderOptions) { o.ICC = p3 }),
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, data)
			if again := open(t, p.Original); !bytes.Equal(again.file.meta.icc, p3) {
				t.Error("the original lost its profile")
			}
			for _, r := range render(t, p) {
				if got := open(t, r.Data).file.meta.icc; !bytes.Equal(got, p3) {
					t.Errorf("%s w%d carries a profile of %d bytes; want %d", r.Format, r.Width, len(got), len(p3))
				}
			}
		})
	}
}

func TestProfilesThatDoNotFitAreNotCarried(t *testing.T) {
	for name, icc := range map[string][]byte{
		"CMYK":  profile("CMYK", "Coated", 600),
		"grey":  profile("GRAY", "Dot Gain 20%", 400),
		"sRGB":  profile("RGB ", "sRGB IEC61966-2.1", 3144),
		"huge":  profile("RGB ", "printer", maxProfile+1),
		"short": []byte("RGB"),
	} {
		m := metadata{icc: icc}
		if m.carried() != nil {
			t.Errorf("%s profile is carried", name)
		}
	}
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	got := cleanText([]byte("\x00 " + strings.Repeat("ệ", 1000) + "\n\x00editor"))
	if len(got) > maxText || strings.Trim(got, "ệ") != "" || len(got) < maxText-3 {
		t.Errorf("%d bytes: %q", len(got), got[len(got)-6:])
	}
}

func FuzzEXIF(f *testing.F) {
	f.Add(secretEXIF(6))
	f.Add([]byte("II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m, again metadata
		m.readEXIF(data)
		m.readIPTC(data)
		m.readIIM(data)
		again.readEXIF(m.exif(true))
		if again.artist != m.artist || again.copyright != m.copyright || m.orientation > 1 && again.orientation != m.orientation {
			t.Fatalf("%+v is read back as %+v", m, again)
		}
	})
}
