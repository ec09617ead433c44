package media

import (
	"archive/zip"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/objects"
)

// office is a document as Word and its like write them, as far as anybody here looks into it.
func office(t *testing.T, part string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range []string{"[Content_Types].xml", "_rels/.rels", part} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte("<x/>"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var (
	pdf = []byte("%PDF-1.7\n%âãÏÓ\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
	mp3 = append([]byte("ID3\x03\x00\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("\xff\xfb\x90\x00"), 100)...)
	mp4 = []byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2\x00\x00\x00\x08mdat")
)

func TestFilesAreStoredAsTheyAre(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, tc := range map[string]struct {
		data            []byte
		declared, found string
	}{
		"lich.pdf":     {pdf, "application/pdf", "application/pdf"},
		"khong-noi":    {pdf, "", "application/pdf"},
		"nhi-phan":     {pdf, "application/octet-stream", "application/pdf"},
		"don.docx":     {office(t, "word/document.xml"), docx, docx},
		"bang.xlsx":    {office(t, "xl/workbook.xml"), xlsx, xlsx},
		"phat-thanh":   {mp3, "audio/mpeg", "audio/mpeg"},
		"phat-thanh-3": {mp3, "audio/mp3", "audio/mpeg"},
		"phim.mp4":     {mp4, "video/mp4", "video/mp4"},
	} {
		at := events.Attachment{URL: b.cms.serve("/"+name, file(tc.data)), Title: name, MediaType: tc.declared, Size: 1}
		got, err := b.StoreFile(t.Context(), at)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.MediaType != tc.found || got.Size != int64(len(tc.data)) || got.SHA256 != hash(tc.data) || got.Source != at.URL ||
			got.Title != name || got.Fault != "" || got.Refused {
			t.Errorf("%s: %+v", name, got)
		}
		o, err := b.objects.Get(t.Context(), strings.TrimPrefix(got.URL, "loa-media:"), objects.MaxBody)
		if err != nil || !bytes.Equal(o.Body, tc.data) || o.ContentType != tc.found {
			t.Errorf("%s: %d bytes of %s, %v", name, len(o.Body), o.ContentType, err)
		}
	}
	b.wantCounts(map[string]int{"fetched": 8, "stored": 5, "rendered": 0})
	if _, err := b.StoreFile(t.Context(), events.Attachment{URL: b.cms.url + "/lich.pdf"}); err != nil {
		t.Fatal(err)
	}
	if n := b.cms.requests("/lich.pdf"); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

// What is not what it was declared to be is refused; what is merely not stored stays where it is.
func TestFilesThatAreNotStored(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.MaxFile = 4 << 10 })
	page := []byte("<!doctype html><script>alert(1)</script>")
	for name, tc := range map[string]struct {
		data           []byte
		declared, says string
		refused        bool
	}{
		"page as PDF":           {page, "application/pdf", "file is text/html; charset=utf-8, declared as application/pdf", true},
		"program as sound":      {append([]byte("MZ"), make([]byte, 500)...), "audio/mpeg", "declared as audio/mpeg", true},
		"PDF as a page":         {pdf, "text/html", "file is application/pdf, declared as text/html", true},
		"Word as Excel":         {office(t, "word/document.xml"), xlsx, "declared as " + xlsx, true},
		"program, nothing said": {append([]byte("MZ"), make([]byte, 500)...), "", "files of type application/vnd.microsoft.portable-executable are not stored", false},
		"page as a page":        {page, "text/html", "are not stored", false},
		"too large":             {make([]byte, 5<<10), "application/pdf", "more than 4096 bytes", false},
	} {
		t.Run(name, func(t *testing.T) {
			at := events.Attachment{URL: b.cms.serve("/"+strings.ReplaceAll(name, " ", "-"), file(tc.data)), MediaType: tc.declared}
			got, err := b.StoreFile(t.Context(), at)
			wantPermanent(t, err, tc.says)
			if got.Refused != tc.refused || got.Attachment != at || got.SHA256 != "" || !strings.Contains(got.Fault, tc.says) {
				t.Errorf("%+v", got)
			}
			if mismatch := (*MismatchError)(nil); errors.As(err, &mismatch) != tc.refused {
				t.Errorf("%v is a mismatch: %v", err, !tc.refused)
			}
		})
	}
	_, err := b.StoreFile(t.Context(), events.Attachment{URL: b.cms.url + "/khong-co"})
	wantPermanent(t, err, "404 Not Found")
	_, err = b.StoreFile(t.Context(), events.Attachment{URL: b.cms.serve("/ban", status(http.StatusServiceUnavailable))})
	wantPassing(t, err, "503")
}
