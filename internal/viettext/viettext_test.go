package viettext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/loa-syndication/loa/internal/viettext"
)

const notice = `Ủy ban nhân dân phường Cầu Gỗ thông báo lịch tiêm chủng tháng mười hai cho trẻ em dưới năm tuổi. Phụ huynh đưa trẻ
đến trạm y tế vào các sáng thứ bảy, mang theo sổ tiêm chủng và giấy khai sinh. Những gia đình ở xa được hẹn giờ trước để khỏi
phải chờ đợi; ai bận việc thì gửi lại lời nhắn cho tổ trưởng dân phố. Nước sạch sẽ tạm ngừng từ tám giờ tối nay tới sáng mai ở ngõ
Quỳnh, ngõ Giếng và khu tập thể nhà máy giấy, vì vỡ ống dẫn. Mọi ý kiến xin gọi đường dây nóng, số điện thoại ghi ở cuối trang.`

func TestOlderEncodingsAreRecognisedAndConverted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		encoding  viettext.Encoding
		was, want string
	}{
		{viettext.TCVN3, "Céng hoµ x· héi chñ nghÜa ViÖt Nam", "Cộng hoà xã hội chủ nghĩa Việt Nam"},
		{viettext.TCVN3, "§éc lËp - Tù do - H¹nh phóc", "Độc lập - Tự do - Hạnh phúc"},
		{viettext.TCVN3, "Bé tr\u00ading Bé Y tÕ th¨m bÖnh nh©n", "Bộ trưing Bộ Y tế thăm bệnh nhân"},
		{viettext.TCVN3, "ñY BAN NH¢N D¢N TØNH TH¸I B×NH", "ỦY BAN NHÂN DÂN TỈNH THÁI BÌNH"},
		{viettext.TCVN3, "UBND TØNH häp víi c¸c së", "UBND TỈNH họp với các sở"},
		{viettext.VNI, "Coäng hoøa xaõ hoäi chuû nghóa Vieät Nam", "Cộng hòa xã hội chủ nghĩa Việt Nam"},
		{viettext.VNI, "Ñoäc laäp - Töï do - Haïnh phuùc", "Độc lập - Tự do - Hạnh phúc"},
		{viettext.VNI, "UÛY BAN NHAÂN DAÂN THAØNH PHOÁ", "ỦY BAN NHÂN DÂN THÀNH PHỐ"},
		{viettext.VNI, "ngöôøi daân ñöôïc höôûng lôïi", "người dân được hưởng lợi"},
		{viettext.VPS, viettext.Encode(viettext.VPS, "người dân được hưởng lợi từ dự án"), "người dân được hưởng lợi từ dự án"},
		{viettext.Mojibake, "ThÃ nh phá»‘ thÃ´ng bÃ¡o", "Thành phố thông báo"},
		{viettext.Mojibake, viettext.Encode(viettext.Mojibake, notice), notice},
		{viettext.TCVN3, viettext.Encode(viettext.TCVN3, notice[len("Ủy"):]), notice[len("Ủy"):]},
		{viettext.VNI, viettext.Encode(viettext.VNI, notice), notice},
		{viettext.VPS, viettext.Encode(viettext.VPS, notice[len("Ủy"):]), notice[len("Ủy"):]},
	} {
		if got := viettext.Detect(c.was, ""); got != c.encoding {
			t.Errorf("%.60q: detected %s, want %s", c.was, got, c.encoding)
		}
		if got := c.encoding.Convert(c.was); got != c.want {
			t.Errorf("%.60q converted to %q, want %q", c.was, got, c.want)
		}
	}
}

func TestTextThatIsNotInAnOlderEncodingIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "Lich cat nuoc", notice, notice[:80], strings.ToUpper(notice), "Tôi có hai con mèo và ba con chó", "Thông báo",
		"L'été dernier, à Paris, où l'on a déjà vu ça, un élève français a gagné le dîner du théâtre, près de la forêt, grâce à son frère aîné.",
		"« Où est-il né ? » demanda le maître d'hôtel, très étonné, à l'évêque de Fréjus ; « là-bas, à côté de chez Noël. »",
		"Die Straße führt über die Brücke zum Bahnhof; für größere Gruppen gibt es Ermäßigungen, müssen aber früh geöffnete Türen gewählt werden.",
		"Él comió piñas en el jardín de la señora Núñez, según decían los niños, y también bebió más café que ayer.",
		"Olá, não há pão amanhã; às três da manhã o irmão já estará à porta, atrás da televisão.",
		"Å være på øya er bedre enn å gå på fjellet når været er dårlig.",
		"A sheet of 25 µm, then 50 µm and 75 µA at 20 °C ± 2 °C, © 2026 ACME® – £3½", "Müller, Gößmann & Søn",
		"© Ủy ban nhân dân – mọi quyền được bảo lưu", "中文 标题", "Привет, мир", "naïve café – résumé",
	} {
		if got := viettext.Detect(text, ""); got != viettext.Unicode {
			t.Errorf("%.60q: detected %s", text, got)
		}
	}
}

func TestWhatIsHalfOneThingIsNotGuessedAt(t *testing.T) {
	t.Parallel()
	broken := strings.NewReplacer("µ", "?", "¸", "\uFFFD", "®", "\uFFFD", "\u00ad", "\uFFFD").Replace(viettext.Encode(viettext.TCVN3, notice[len("Ủy"):]))
	if got := viettext.Detect(broken, ""); got != viettext.Unsure {
		t.Errorf("detected %s", got)
	}
}

func TestPiecesInUnicodeAreLeftAlone(t *testing.T) {
	t.Parallel()
	for piece, want := range map[string]string{"Thông báo": "Thông báo", "Bé Y tÕ": "Bộ Y tế", "Nguyễn Thị Lan": "Nguyễn Thị Lan", "Hµ Néi": "Hà Nội", "Lan": "Lan"} {
		if got := viettext.TCVN3.Mend(piece, false); got != want {
			t.Errorf("%s became %s, want %s", piece, got, want)
		}
	}
	if got := viettext.TCVN3.Mend("Bé", true); got != "Bộ" {
		t.Errorf("in doubt: %s", got)
	}
}

func TestFontsTellTheEncoding(t *testing.T) {
	t.Parallel()
	for font, want := range map[string]viettext.Encoding{".VnTime": viettext.TCVN3, "Arial, '.VnArialH'": viettext.TCVN3, "VNI-Times": viettext.VNI, "VPS Times": viettext.VPS, "Verdana": ""} {
		if got, _ := viettext.Hint(font); got != want {
			t.Errorf("%s: %q, want %q", font, got, want)
		}
	}
	if got := viettext.Detect("Hµ Néi", viettext.TCVN3); got != viettext.TCVN3 {
		t.Errorf("two words in .VnTime: %s", got)
	}
	if got := viettext.Detect("Hà Nội", viettext.TCVN3); got != viettext.Unicode {
		t.Errorf("Unicode in .VnTime: %s", got)
	}
}

// Whatever comes in, what comes out is UTF-8, and Vietnamese in Unicode comes out as it went in.
func FuzzDetect(f *testing.F) {
	for _, e := range []viettext.Encoding{viettext.TCVN3, viettext.VNI, viettext.VPS, viettext.Mojibake} {
		f.Add(viettext.Encode(e, notice[:200]))
	}
	f.Add(notice)
	f.Add("L'été à Paris\xff\xc3")
	f.Fuzz(func(t *testing.T, text string) {
		e := viettext.Detect(text, "")
		out := e.Convert(text)
		if utf8.ValidString(text) && !utf8.ValidString(out) {
			t.Fatalf("%s made %q of %q", e, out, text)
		}
		if e == viettext.Unicode && out != text {
			t.Fatalf("%q was changed to %q", text, out)
		}
		if len(out) > 4*len(text)+4 {
			t.Fatalf("%d bytes became %d", len(text), len(out))
		}
	})
}
