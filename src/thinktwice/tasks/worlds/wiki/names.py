"""What things are called in the `wiki` world. Law: fixed lists, so that one tokenizer serves every encyclopedia."""

# fmt: off
GIVEN = ("Ada", "Amos", "Bela", "Boris", "Cora", "Dora", "Edith", "Emil", "Felix", "Flora", "Gerda", "Hugo",
         "Ida", "Igor", "Jonas", "Julia", "Karl", "Lena", "Ludo", "Mara", "Mila", "Nils", "Nora", "Oscar",
         "Otto", "Paula", "Rosa", "Ruben", "Silas", "Tessa", "Vera", "Viktor")
_STEMS = ("Ash", "Birch", "Black", "Brad", "Brook", "Clay", "Cross", "Dun", "East", "Elm", "Fair", "Glen",
          "Green", "Hart", "Hazel", "Hill", "Holm", "Kirk", "Lang", "Lind", "Marsh", "Mill", "North", "Oak",
          "Rad", "Rose", "Sand", "Stan", "Thorn", "Wal", "West", "Win")
_ENDS = ("by", "combe", "field", "ham", "ley", "man", "more", "ridge", "son", "well", "wick", "worth")
TOWNS = ("Aldova", "Barenz", "Corvel", "Danisk", "Elbray", "Fortuna", "Gravina", "Hestad", "Ilmora", "Jarnik",
         "Kelmar", "Lusanto", "Morvik", "Nardal", "Ostrel", "Pelago", "Quentar", "Rimsk", "Salvano", "Torvald",
         "Umbra", "Velden", "Wendar", "Xantos", "Ystrand", "Zamiro", "Arlenz", "Bruvik", "Calder", "Drovno", "Estorm",
         "Falmark")
COUNTRIES = ("Avaria", "Borland", "Caldonia", "Drunia", "Estavia", "Florin", "Gardovia", "Hyrkan", "Iskria", "Jovia",
             "Karvia", "Lorvania")
FIELDS = ("algebra", "botany", "chess", "dance", "law", "logic", "music", "optics", "painting", "poetry", "sailing",
          "weaving")
# fmt: on
FAMILIES = tuple(f"{stem}{end}" for end in _ENDS for stem in _STEMS)
NAMESAKES = len(GIVEN) // 2
"""How many people of one family an encyclopedia may tell of, so that names are left for strangers."""
