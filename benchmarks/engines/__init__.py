"""How fast this codec is here, beside others, and how near its engines are to each other."""
