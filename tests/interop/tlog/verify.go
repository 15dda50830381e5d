// Checks a log of files by golang.org/x/mod/sumdb (note, tlog), which knows nothing of contactsync.
//
//	verify DIR LOG-VKEY WITNESS-VKEY OLD-SIZE OLD-ROOT
//
// The checkpoint is opened with the keys of the log and of a witness, every entry is proven to be in the tree by
// tiles that are checked against it, and the tree is proven to continue the older one. Prints the size.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// witness is the key of a cosignature/v1, which x/mod does not know.
type witness struct {
	name string
	key  ed25519.PublicKey
	hash uint32
}

func newWitness(vkey string) witness {
	parts := strings.SplitN(vkey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	check(err)
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:4])
	if fmt.Sprintf("%08x", hash) != parts[1] || key[0] != 4 {
		check(fmt.Errorf("not the key of a witness"))
	}
	return witness{parts[0], key[1:], hash}
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }
func (w witness) Verify(text, signature []byte) bool {
	if len(signature) != 72 {
		return false
	}
	when := binary.BigEndian.Uint64(signature[:8])
	message := append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", when)), text...)
	return ed25519.Verify(w.key, message, signature[8:])
}

type tiles struct{ folder string }

// path is that of C2SP tlog-tiles: Go's, without the height.
func path(t tlog.Tile) string {
	return strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

func (r tiles) Height() int { return height }
func (r tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, t := range wanted {
		octets, err := os.ReadFile(filepath.Join(r.folder, path(t)))
		if err != nil {
			return nil, err
		}
		found = append(found, octets)
	}
	return found, nil
}
func (r tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func entries(folder string, size int64) [][]byte {
	var found [][]byte
	for first := int64(0); first < size; first += 1 << height {
		width := size - first
		if width > 1<<height {
			width = 1 << height
		}
		t := tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}
		octets, err := os.ReadFile(filepath.Join(folder, strings.Replace(path(t), "data", "entries", 1)))
		check(err)
		for len(octets) > 0 {
			length := int(binary.BigEndian.Uint16(octets))
			found = append(found, octets[2:2+length])
			octets = octets[2+length:]
		}
	}
	return found
}

func main() {
	folder := os.Args[1]
	key, err := note.NewVerifier(os.Args[2])
	check(err)
	octets, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	check(err)
	opened, err := note.Open(octets, note.VerifierList(key, newWitness(os.Args[3])))
	check(err)
	if len(opened.Sigs) != 2 {
		check(fmt.Errorf("the log and the witness have not both signed"))
	}
	lines := strings.SplitN(opened.Text, "\n", 2)
	if lines[0] != key.Name() {
		check(fmt.Errorf("the checkpoint of another log"))
	}
	// ParseTree wants the origin of Go's own log.
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1]))
	check(err)
	hashes := tlog.TileHashReader(tree, tiles{folder})
	all := entries(folder, tree.N)
	if int64(len(all)) != tree.N {
		check(fmt.Errorf("%d entries of %d", len(all), tree.N))
	}
	for index, entry := range all {
		proof, err := tlog.ProveRecord(tree.N, int64(index), hashes)
		check(err)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), tlog.RecordHash(entry)))
	}
	old, err := strconv.ParseInt(os.Args[4], 10, 64)
	check(err)
	root, err := tlog.ParseHash(os.Args[5])
	check(err)
	proof, err := tlog.ProveTree(tree.N, old, hashes)
	check(err)
	check(tlog.CheckTree(proof, tree.N, tree.Hash, old, root))
	published := tlog.NewTiles(height, 0, tree.N) // what Go would publish of this tree
	for i, t := range published {
		if i+1 < len(published) && published[i+1].L == t.L && published[i+1].N == t.N {
			continue // of a tile that is not full, every width before the last one
		}
		want, err := tlog.ReadTileData(t, hashes)
		check(err)
		have, err := os.ReadFile(filepath.Join(folder, path(t)))
		check(err)
		if !bytes.Equal(want, have) {
			check(fmt.Errorf("%s differs", path(t)))
		}
	}
	fmt.Println(tree.N)
}
