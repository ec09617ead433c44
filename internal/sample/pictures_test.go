package sample_test

import (
	"bytes"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rwcarlsen/goexif/exif"

	"github.com/loa-syndication/loa/internal/sample"
)

func TestPicturesAreWhatTheyPromise(t *testing.T) {
	var megapixels12, panorama, transparent bool
	for _, p := range sample.Pictures() {
		data, mediaType := sample.Draw(p.Name)
		img, format, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		size := img.Bounds().Size()
		if size.X != p.Width || size.Y != p.Height || mediaType != p.MediaType || mediaType != "image/"+format {
			t.Errorf("%s: %s of %v, %s promised of %d x %d", p.Name, format, size, p.MediaType, p.Width, p.Height)
		}
		if least := size.X * size.Y / 12; format == "jpeg" && len(data) < least {
			t.Errorf("%s: %d bytes, want at least %d, as a photograph has", p.Name, len(data), least)
		}
		megapixels12 = megapixels12 || size == image.Pt(4032, 3024)
		panorama = panorama || size.X > 3*size.Y
		_, _, _, corner := img.At(0, 0).RGBA()
		_, _, _, middle := img.At(size.X/2, size.Y/2).RGBA()
		transparent = transparent || corner == 0 && middle == 0xffff
	}
	if !megapixels12 || !panorama || !transparent {
		t.Errorf("12 megapixels: %v, panorama: %v, transparent: %v", megapixels12, panorama, transparent)
	}
}

func TestPhotographCarriesWhereItWasTaken(t *testing.T) {
	data, _ := sample.Draw("ben-song-hoang-hon.jpg")
	tags, err := exif.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	orientation, err := tags.Get(exif.Orientation)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := orientation.Int(0); v != 6 || err != nil {
		t.Errorf("orientation %d, %v, want 6", v, err)
	}
	if lat, long, err := tags.LatLong(); err != nil || lat < 10.3 || lat > 10.4 || long < 109 || long > 109.1 {
		t.Errorf("taken at %v, %v, %v", lat, long, err)
	}
	for _, name := range []exif.FieldName{exif.Artist, exif.Copyright} {
		if _, err := tags.Get(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPhotosDifferBySeedOnly(t *testing.T) {
	a, b, c := sample.Photo(1, 320, 214), sample.Photo(1, 320, 214), sample.Photo(2, 320, 214)
	if !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("one seed must give one picture, two seeds two")
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(a))
	if err != nil || config.Width != 320 || config.Height != 214 {
		t.Errorf("size %d x %d, %v", config.Width, config.Height, err)
	}
}

func TestHandlerServesPictures(t *testing.T) {
	server := httptest.NewServer(sample.Handler())
	defer server.Close()
	want, _ := sample.Draw("cho-moi.jpg")

	response, err := http.Get(server.URL + "/anh/cho-moi.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, want) || response.Header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("%s, %d bytes, %v", response.Header.Get("Content-Type"), len(got), err)
	}

	request, _ := http.NewRequest("GET", server.URL+"/anh/cho-moi.jpg", nil)
	request.Header.Set("If-None-Match", response.Header.Get("ETag"))
	again, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("with its ETag: %s, want 304", again.Status)
	}

	missing, err := http.Get(server.URL + "/anh/khong-co.jpg")
	if err != nil {
		t.Fatal(err)
	}
	missing.Body.Close()
	if missing.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown picture: %s, want 404", missing.Status)
	}
}

func TestFilesHoldPictures(t *testing.T) {
	want, _ := sample.Draw("huy-hieu-an-hoa.png")
	got, err := fs.ReadFile(sample.Files(), "huy-hieu-an-hoa.png")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := fs.ReadFile(sample.Files(), "../x.png"); err == nil {
		t.Error("a file that is not there was opened")
	}
}

func BenchmarkPhoto12Megapixels(b *testing.B) {
	for i := range b.N {
		sample.Photo(uint64(i), 4032, 3024)
	}
}
