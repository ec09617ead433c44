package sample

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"
)

// PicturePath is where [Handler] serves the pictures, and where articles look for them.
const PicturePath = "/anh/"

// Picture is one of the city's pictures.
type Picture struct {
	Name string
	// Width and Height are the file's, in pixels, before its EXIF orientation is applied.
	Width, Height int
	MediaType     string

	draw func() []byte // memoised
}

// picture is drawn at a coarser size, detail times smaller, and enlarged.
func picture(name string, width, height, detail int, s scene) Picture {
	return Picture{name, width, height, "image/jpeg", sync.OnceValue(func() []byte {
		s.aspect = float64(width) / float64(height)
		return encodeJPEG(develop(s.paint(height/detail), width, height, s.seed), nil)
	})}
}

// upright is like picture, of a scene higher than wide, as a telephone takes it: stored
// lying on its side with EXIF orientation 6, and with the place in a GPS block.
func upright(name string, width, height, detail int, s scene) Picture {
	return Picture{name, width, height, "image/jpeg", sync.OnceValue(func() []byte {
		s.aspect = float64(height) / float64(width)
		painting := turnLeft(s.paint(width / detail))
		return encodeJPEG(develop(painting, width, height, s.seed),
			cameraEXIF("Lê Thu Hà", "© Cổng thông tin điện tử quận Bến Sông"))
	})}
}

// album is every picture that the articles show.
var album = []Picture{
	// 12 megapixels.
	upright("ben-song-hoang-hon.jpg", 4032, 3024, 4, scene{seed: 11, light: dusk, horizon: .56, clouds: .55,
		sun: point{.42, .47}, hills: 3, skyline: .13}),
	picture("toan-canh-an-hoa.jpg", 4800, 1350, 3, scene{seed: 23, light: dawn, horizon: .60, clouds: .5,
		sun: point{2.6, .40}, hills: 3, skyline: .42}),
	picture("cau-song-duc.jpg", 1600, 1067, 2, scene{seed: 31, light: day, horizon: .62, clouds: .6,
		sun: point{1.2, -.2}, hills: 3, skyline: .10, bridge: true}),
	picture("cau-song-duc-dem.jpg", 1600, 1067, 2, scene{seed: 31, light: night, horizon: .62, clouds: .3,
		sun: point{1.2, .12}, hills: 2, skyline: .26, bridge: true}),
	picture("nuoc-lu-song-duc.jpg", 1600, 1067, 2, scene{seed: 43, light: overcast, horizon: .46, clouds: .95,
		hills: 4, ground: flood, rain: true}),
	picture("doi-thong-suong-som.jpg", 1600, 1067, 2, scene{seed: 57, light: dawn, horizon: .72, clouds: .3,
		sun: point{.4, .26}, hills: 5, pines: true, ground: field}),
	picture("dong-lua-doi-thong.jpg", 1600, 1067, 2, scene{seed: 61, light: day, horizon: .48, clouds: .7,
		sun: point{.2, -.2}, hills: 4, ground: field}),
	picture("le-hoi-hoa-dang.jpg", 1600, 1067, 2, scene{seed: 71, light: night, horizon: .58, clouds: .2,
		sun: point{.25, .12}, hills: 2, skyline: .16, lamps: 70}),
	picture("cho-moi.jpg", 1600, 1067, 2, scene{seed: 83, light: day, horizon: .42, clouds: .5,
		sun: point{1.3, -.2}, hills: 2, ground: street, stalls: true}),
	picture("duong-ven-song.jpg", 1600, 1067, 2, scene{seed: 97, light: day, horizon: .50, clouds: .65,
		sun: point{.2, -.2}, hills: 3, skyline: .24, ground: street}),
	picture("duong-tran-phu-mua.jpg", 1600, 1067, 2, scene{seed: 101, light: overcast, horizon: .48, clouds: .9,
		hills: 2, skyline: .30, ground: street, rain: true}),
	picture("san-van-dong-doi-thong.jpg", 1600, 1067, 2, scene{seed: 113, light: day, horizon: .44, clouds: .45,
		sun: point{.9, -.2}, hills: 4, pines: true, ground: pitch}),
	picture("nha-may-nuoc-ben-song.jpg", 1600, 1067, 2, scene{seed: 127, light: dawn, horizon: .55, clouds: .5,
		sun: point{.5, .42}, hills: 4, skyline: .07}),
	{"huy-hieu-an-hoa.png", 512, 512, "image/png", sync.OnceValue(drawEmblem)},
}

// Pictures lists the city's pictures, without drawing them.
func Pictures() []Picture { return append([]Picture(nil), album...) }

// Draw gives the picture's file, the same bytes at every call; the caller must not change
// them. The first call draws, which takes up to a second.
func (p Picture) Draw() []byte { return p.draw() }

// Draw gives the file of the picture called name, and its media type; no data when there is
// no such picture.
func Draw(name string) (data []byte, mediaType string) {
	for _, p := range album {
		if p.Name == name {
			return p.draw(), p.MediaType
		}
	}
	return nil, ""
}

// Photo draws a JPEG of the given size that no other seed gives: for tests and benchmarks
// that need many pictures.
func Photo(seed uint64, width, height int) []byte {
	lights := []light{dawn, day, dusk, overcast}
	r := func(salt uint64) float64 { return random(seed, salt, 1) }
	aspect := float64(width) / float64(height)
	s := scene{seed: seed, light: lights[int(r(1)*4)], aspect: aspect, horizon: .45 + .2*r(2), clouds: r(3),
		sun: point{r(4) * aspect, .1 + .3*r(5)}, hills: 2 + int(r(6)*3), skyline: .3 * r(7),
		ground: ground(r(8) * 5)}
	detail := 1 + height/1000
	return encodeJPEG(develop(s.paint(max(height/detail, 1)), width, height, seed), nil)
}

// Handler serves the pictures below [PicturePath], as a CMS does.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PicturePath+"{name}", func(w http.ResponseWriter, r *http.Request) {
		data, mediaType := Draw(r.PathValue("name"))
		if data == nil {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(data)
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
		w.Header().Set("Cache-Control", "public, max-age=86400")
		http.ServeContent(w, r, "", Base, bytes.NewReader(data))
	})
	return mux
}

// Files holds the pictures as files, for what reads an article's pictures from a folder.
func Files() fs.FS { return pictureFiles{} }

type pictureFiles struct{}

func (pictureFiles) Open(name string) (fs.File, error) {
	data, _ := Draw(name)
	if data == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &pictureFile{bytes.NewReader(data), name}, nil
}

// pictureFile is an open picture, and its own [fs.FileInfo].
type pictureFile struct {
	*bytes.Reader
	name string
}

func (f *pictureFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *pictureFile) Close() error               { return nil }
func (f *pictureFile) Name() string               { return path.Base(f.name) }
func (f *pictureFile) Mode() fs.FileMode          { return 0o444 }
func (f *pictureFile) ModTime() time.Time         { return Base }
func (f *pictureFile) IsDir() bool                { return false }
func (f *pictureFile) Sys() any                   { return nil }
