"A stand-in for Colab's own package, as far as the editions and their widgets ask for it."

from google.colab import drive, output, userdata
