package layout
import ("testing";"os";"strings";"maps";"slices")
func TestZZ(t *testing.T){
 for _,tc:=range strings.Fields(os.Getenv("ZZ")) { for _,arch:=range Arches() {
  f:=build(t,tc,probe,[]string{"GOARCH="+arch}); got,err:=FromELF(f,tc); if err!=nil{t.Fatal(err)}
  want,_:=For(tc,arch); bad:=[]string{}
  for _,n:=range slices.Sorted(maps.Keys(got.types.structs)) { if !got.types.structs[n].equal(want.types.structs[n]) { bad=append(bad,n) } }
  for n,s:=range got.types.aliases { if want.types.aliases[n]!=s {bad=append(bad,n)} }
  t.Log(tc,arch,bad)
 }}
}
