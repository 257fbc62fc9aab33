local t = nn.ones(3)
print(t)
