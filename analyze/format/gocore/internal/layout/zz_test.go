package layout
import ("testing";"os";"strings";"maps";"slices")
func TestZZ(t *testing.T){
 src,_:=os.ReadFile("/tmp/lay/L/main.go")
 for _,tc:=range strings.Fields(os.Getenv("ZZ")) {
  f:=build(t,tc,string(src),[]string{"GOARCH=amd64"},"-gcflags=runtime=-l"); got,err:=FromELF(f,tc); if err!=nil{t.Fatal(err)}
  want,_:=For(tc,"amd64"); bad:=[]string{}
  for _,n:=range slices.Sorted(maps.Keys(got.types.structs)) { if !got.types.structs[n].equal(want.types.structs[n]) { bad=append(bad,n) } }
  for n,s:=range got.types.aliases { if want.types.aliases[n]!=s {bad=append(bad,n)} }
  t.Log(tc,len(got.types.structs),bad, want.Doubts())
 }
}
